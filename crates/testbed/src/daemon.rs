//! A process that is kept running: the controller, and each proxy. It is started again with back-off when it ends, is ready when its
//! admin port says so, and can be held back by tests. Depends on `processes`. Deliberately absent: how it is started (a closure).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::processes::{Process, usage};
use crate::spec;

/// How long until it is started again, at first and at most. The first is short: a killed proxy is a pod without traffic.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// A process that has lived this long is started again without back-off.
const LIVED: Duration = Duration::from_secs(10);
/// How often readiness is asked for while it is not there.
const READY_INTERVAL: Duration = Duration::from_millis(20);
/// How long one such question may take.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest answer that is read of it.
const READY_BYTES_MAX: u64 = 64;

/// What is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It runs, and is started again when it ends.
    Running,
    /// It is ended, but may be wanted again.
    Held,
    /// It is ended for good.
    Ended {
        /// How long it has after SIGTERM.
        grace: Duration,
    },
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub(crate) process: Option<Process>,
    pub(crate) ready: bool,
    pub(crate) restarts: u32,
    /// It will not be started again.
    finished: bool,
    /// How the last start or run went wrong.
    pub(crate) problem: String,
}

type Start = dyn Fn() -> io::Result<Process> + Send + Sync;

pub(crate) struct Daemon {
    start: Box<Start>,
    /// Its admin port.
    admin: SocketAddr,
    status: watch::Sender<Status>,
    wanted: watch::Sender<Wanted>,
}

impl Daemon {
    pub(crate) fn new(
        admin: SocketAddr,
        start: impl Fn() -> io::Result<Process> + Send + Sync + 'static,
    ) -> Self {
        Self {
            start: Box::new(start),
            admin,
            status: watch::Sender::new(Status::default()),
            wanted: watch::Sender::new(Wanted::Running),
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Says what is wanted from now on. What was ended for good stays so.
    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|now| {
            let changes = *now != wanted && !matches!(now, Wanted::Ended { .. });
            if changes {
                *now = wanted;
            }
            changes
        });
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        match self.status().process {
            Some(process) => process.signal(signal),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "it does not run")),
        }
    }

    /// How it does, for people.
    pub(crate) fn report(&self) -> spec::Daemon {
        let status = self.status();
        let pid = status
            .process
            .as_ref()
            .filter(|process| process.exit().is_none())
            .map_or(0, |process| process.pid);
        let (rss_bytes, cpu_seconds) = if pid == 0 { (0, 0.0) } else { usage(pid) };
        spec::Daemon { pid, ready: status.ready, restarts: status.restarts, rss_bytes, cpu_seconds }
    }

    /// Keeps it running until it is wanted ended.
    pub(crate) async fn keep(&self) {
        let mut wanted = self.wanted.subscribe();
        let mut backoff = BACKOFF.0;
        loop {
            // The sender is part of self, so the channel is never closed.
            let now = *wanted.borrow_and_update();
            match now {
                Wanted::Running => {}
                Wanted::Ended { .. } => break,
                Wanted::Held => {
                    let _ = wanted.changed().await;
                    continue;
                }
            }
            let began = tokio::time::Instant::now();
            match (self.start)() {
                Ok(process) => {
                    self.status.send_modify(|status| {
                        status.process = Some(process.clone());
                        status.ready = false;
                    });
                    let problem = self.watch_over(&process, &mut wanted).await;
                    self.status.send_modify(|status| {
                        status.process = None;
                        status.ready = false;
                        status.problem = problem;
                    });
                }
                Err(error) => {
                    self.status.send_modify(|status| status.problem = format!("cannot be started: {error}"))
                }
            }
            if *wanted.borrow() != Wanted::Running {
                continue;
            }
            backoff = if began.elapsed() >= LIVED { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
            // Ends early when something else is wanted.
            let _ = tokio::time::timeout(backoff / 2, wanted.changed()).await;
            self.status.send_modify(|status| status.restarts += 1);
        }
        self.status.send_modify(|status| status.finished = true);
    }

    /// Ends it for good; returns when it has ended. Only for one that is being kept.
    pub(crate) async fn end(&self, grace: Duration) {
        self.want(Wanted::Ended { grace });
        let mut status = self.watch();
        // The sender is part of self, so this cannot fail.
        let _ = status.wait_for(|status| status.finished).await;
    }

    /// Waits until the process has ended, by itself or because it is not wanted any more. Why.
    async fn watch_over(&self, process: &Process, wanted: &mut watch::Receiver<Wanted>) -> String {
        let unwanted = async {
            loop {
                let now = *wanted.borrow_and_update();
                match now {
                    Wanted::Running => {}
                    Wanted::Held => return Duration::from_secs(1),
                    Wanted::Ended { grace } => return grace,
                }
                let _ = wanted.changed().await;
            }
        };
        let gets_ready = async {
            while !is_ready(self.admin).await {
                tokio::time::sleep(READY_INTERVAL).await;
            }
            self.status.send_modify(|status| status.ready = true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            exit = process.ended() => format!("ended with exit code {exit}"),
            grace = unwanted => {
                process.end(grace).await;
                String::new()
            }
            () = gets_ready => String::new(),
        }
    }
}

/// Whether the admin port answers 200 to GET /ready.
async fn is_ready(admin: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: ready\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(READY_BYTES_MAX).read_to_end(&mut answer).await?;
        io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    matches!(tokio::time::timeout(READY_TIMEOUT, ask).await, Ok(Ok(true)))
}
