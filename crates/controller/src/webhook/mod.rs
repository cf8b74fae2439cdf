//! The admission webhook that gives new pods their proxy. The modules stand in the order in which a pod meets them: `server`
//! takes the API server's call, `namespaces` knows what the pod's namespace wants, `review` answers; `certificate` keeps the
//! serving certificate and the API server's trust in it, `problems` tells of wrong settings on the pods that have them.
//! What is added to a pod is decided in `conduit-inject`. Each replica does all of this alone: nothing here needs a leader.
//! Deliberately absent: refusing a pod. A webhook that is down, slow or wrong must not stop the cluster.

mod server;
mod namespaces;
mod review;
mod certificate;
mod problems;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use conduit_inject::Mesh;
use conduit_process::listen;
use conduit_process::ready::Readiness;
use conduit_process::tasks::Tasks;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::identity::authority::Authority;

/// The service's name, under which the API server calls us.
pub const SERVICE: &str = "conduit-webhook";
/// The MutatingWebhookConfiguration.
pub const CONFIGURATION: &str = "conduit-injector";
/// Where reviews are posted.
pub const PATH: &str = "/inject";

/// What the webhook needs of the controller.
pub struct Webhook {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The API server.
    pub client: Client,
    /// A watch that is silent for so long is opened anew.
    pub silence: Duration,
    /// Signs the serving certificate; its anchors are what the API server trusts, and what pods begin with.
    pub authority: Arc<Authority>,
    /// Tells whenever another issuer or other anchors were put in force.
    pub installed: watch::Receiver<u64>,
    /// What pods' settings start from; the trust anchors in it are replaced by the authority's at each review.
    pub mesh: Mesh,
}

impl Webhook {
    /// Starts serving; ready when the namespaces are known and there is a certificate.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(self, readiness: &Readiness, tasks: &Tasks) -> Result<()> {
        let listener = listen::bind(self.addr).and_then(TcpListener::from_std);
        let listener = listener.with_context(|| format!("listening on {} for the API server", self.addr))?;
        let gate = readiness.gate("namespaces");
        let namespaces = namespaces::follow(self.client.clone(), self.silence, gate, tasks);
        let serving = certificate::keep(
            self.authority.clone(),
            self.installed.clone(),
            readiness.gate("webhook certificate"),
            tasks,
        );
        certificate::keep_trust(self.client.clone(), self.authority.clone(), self.installed, tasks);
        problems::tell(self.client, tasks);
        let reviewer = review::Reviewer { namespaces, authority: self.authority, mesh: self.mesh };
        server::serve(listener, serving, Arc::new(reviewer), tasks);
        Ok(())
    }
}
