//! Elects the replica that writes, by a Lease. Every replica serves everything; only what is written once for all, the steps of
//! a rotation, is the leader's. Two that think they lead for a moment do no harm: every write names the version it replaces.
//!
//! A holder counts as gone when its Lease has not changed for its whole duration, measured by our own clock from when we saw it
//! change last: clocks of different nodes are never compared. Source: Kubernetes API, coordination.k8s.io/v1.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The Lease's name.
pub const LEASE: &str = "conduit-controller";
/// How long a Lease holds without being renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed, or looked at.
const INTERVAL: Duration = Duration::from_secs(3);
/// A leader that could not renew for so long no longer thinks that it leads: before anybody else may.
const GIVE_UP: Duration = Duration::from_secs(10);
/// A call that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What is to be done with a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Take,
    Renew,
    Wait,
}

/// One replica's part in the election.
pub struct Candidate {
    leases: Api<Lease>,
    me: String,
    /// The Lease's version that we saw last, and since when.
    seen: Option<(String, Instant)>,
    /// When we renewed it last.
    renewed: Option<Instant>,
    leading: watch::Sender<bool>,
}

impl Candidate {
    /// A candidate of this name, which no other replica has; and what tells whether it leads.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, me: String) -> (Self, watch::Receiver<bool>) {
        let (leading, follow) = watch::channel(false);
        let leases = Api::namespaced(client.clone(), namespace);
        (Self { leases, me, seen: None, renewed: None, leading }, follow)
    }

    /// Takes part until told to stop, and then lets go of the Lease, so that another need not wait for its end.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let outcome = tokio::time::timeout(TIMEOUT, self.attempt()).await;
            match outcome {
                Ok(Ok(true)) => self.renewed = Some(Instant::now()),
                Ok(Ok(false)) => self.renewed = None,
                Ok(Err(error)) => tracing::warn!(%error, "the Lease cannot be read or written; trying again"),
                Err(_) => tracing::warn!("the API server does not answer for the Lease; trying again"),
            }
            self.tell(self.renewed.is_some_and(|at| at.elapsed() < GIVE_UP));
            let pause = INTERVAL.mul_f64(0.8 + 0.4 * fastrand::f64());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        if *self.leading.borrow() {
            self.tell(false);
            _ = tokio::time::timeout(TIMEOUT, self.release()).await;
        }
    }

    fn tell(&self, leads: bool) {
        let changed = self.leading.send_if_modified(|before| std::mem::replace(before, leads) != leads);
        if changed {
            tracing::info!(leads, me = self.me, "election");
        }
    }

    /// One look at the Lease, and what follows from it; says whether we hold it.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let post = PostParams::default();
        let Some(mut lease) = self.leases.get_opt(LEASE).await? else {
            let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.held(None)) };
            return won(self.leases.create(&post, &lease).await);
        };
        match self.step(&lease, Instant::now()) {
            Step::Wait => Ok(false),
            Step::Take => {
                let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
                let spec =
                    LeaseSpec { lease_transitions: Some(transitions.saturating_add(1)), ..self.held(None) };
                lease.spec = Some(spec);
                won(self.leases.replace(LEASE, &post, &lease).await)
            }
            Step::Renew => {
                lease.spec = Some(self.held(lease.spec.take()));
                won(self.leases.replace(LEASE, &post, &lease).await)
            }
        }
    }

    fn step(&mut self, lease: &Lease, now: Instant) -> Step {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.me {
            return Step::Renew;
        }
        if holder.is_empty() {
            return Step::Take;
        }
        match &self.seen {
            Some((seen, since)) if *seen == version => {
                if now.duration_since(*since) > DURATION {
                    Step::Take
                } else {
                    Step::Wait
                }
            }
            _ => {
                self.seen = Some((version, now));
                Step::Wait
            }
        }
    }

    /// The Lease as we hold it from now on.
    fn held(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let now = Timestamp::try_from(SystemTime::now()).ok().map(MicroTime);
        let before = before.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: before.acquire_time.clone().or_else(|| now.clone()),
            renew_time: now,
            ..before
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let mut lease = self.leases.get(LEASE).await?;
        if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.me))
        {
            spec.holder_identity = Some(String::new());
            won(self.leases.replace(LEASE, &PostParams::default(), &lease).await)?;
        }
        Ok(())
    }
}

/// Whoever is slower is told of a conflict: it holds nothing.
fn won<T>(written: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
