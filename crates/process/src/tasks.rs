//! Tasks with an owner: every spawned future belongs to a [`Tasks`], is told to stop through its token and is counted until it ends.
//! It depends on tokio only and is the one place that may call `tokio::spawn`. Deliberately absent: results and join handles
//! (a task hands its result over by a channel) and aborting (what is still alive at the deadline ends with the process).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The largest future that may be spawned, in bytes: what runs once per connection must stay small, or ten thousand connections
/// break the memory promise. Box the rare branch of a future that is larger. Checked when the caller is compiled.
pub const TASK_BYTES_MAX: usize = 16 * 1024;

/// A group of tasks with one owner. Clones are the same group; [`Tasks::child`] makes a group inside this one.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    count: Arc<Count>,
    token: CancellationToken,
}

impl Tasks {
    /// A group of its own, that nothing else stops.
    pub fn new() -> Self {
        Self::default()
    }

    /// A group inside this one: it stops when this one stops, and its tasks count here too. It can be stopped alone.
    pub fn child(&self) -> Self {
        let count = Count { parent: Some(self.count.clone()), ..Count::default() };
        Self { count: Arc::new(count), token: self.token.child_token() }
    }

    /// Runs `future` as a task of this group on the current runtime. It is expected to watch [`Tasks::token`] and to end soon
    /// after it; see [`Tasks::spawn_until_stopped`] for a future that may be dropped anywhere.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_holding(name, (), future);
    }

    /// Like [`Tasks::spawn`]; `place` is dropped when the task ends, however it does.
    pub fn spawn_holding<F, P>(&self, name: &'static str, place: P, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
        P: Send + Unpin + 'static,
    {
        const { assert!(size_of::<F>() <= TASK_BYTES_MAX, "a task's future is too large: box its rare branches") };
        let alive = Alive::new(name, self.count.clone());
        #[expect(clippy::disallowed_methods, reason = "this is the owner that the ban sends everybody to")]
        tokio::spawn(Task { future: Box::pin(future), _place: place, _alive: alive });
    }

    /// Like [`Tasks::spawn`], but the future is dropped where it stands when the group stops.
    pub fn spawn_until_stopped<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token.clone();
        self.spawn(name, async move {
            token.run_until_cancelled(future).await;
        });
    }

    /// What tells the tasks of this group to stop.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Tells every task of this group and of the groups inside it to stop. Returns at once.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// Waits until no task is alive, at most `deadline`. Returns how many are still alive: 0 when all have ended.
    pub async fn wait(&self, deadline: Duration) -> usize {
        let ended = async {
            loop {
                let zero = self.count.zero.notified();
                tokio::pin!(zero);
                zero.as_mut().enable();
                if self.is_empty() {
                    return;
                }
                zero.await;
            }
        };
        if tokio::time::timeout(deadline, ended).await.is_ok() { 0 } else { self.len() }
    }

    /// How many tasks of this group, and of the groups inside it, are alive.
    pub fn len(&self) -> usize {
        self.count.alive.load(Ordering::Acquire)
    }

    /// Whether no task is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many tasks are alive in a group; the chain of parents ends at the group made by [`Tasks::new`].
#[derive(Debug, Default)]
struct Count {
    alive: AtomicUsize,
    zero: Notify,
    parent: Option<Arc<Count>>,
}

impl Count {
    fn and_parents(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |count| count.parent.as_deref())
    }
}

/// A task's future and what lives as long. The future is boxed: an `async` block around it would hold it twice, as what it has taken and
/// as what it awaits.
struct Task<P> {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: P,
    _alive: Alive,
}

impl<P: Unpin> Future for Task<P> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll(cx)
    }
}

/// Counts one task from its spawn to its end, also when it is dropped or panics.
struct Alive {
    name: &'static str,
    count: Arc<Count>,
}

impl Alive {
    fn new(name: &'static str, count: Arc<Count>) -> Self {
        for group in count.and_parents() {
            group.alive.fetch_add(1, Ordering::AcqRel);
        }
        Self { name, count }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                task = self.name,
                "a task panicked; this is a defect of Conduit, please report it"
            );
        }
        for group in self.count.and_parents() {
            if group.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
                group.zero.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
