//! What each namespace wants: its annotations of ours, kept by a watch of metadata only. A namespace that the watch has not
//! seen yet (it may be a second old) is asked for once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conduit_inject::Annotations;
use conduit_process::ready::Gate;
use conduit_process::tasks::Tasks;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use kube::{Api, Client, ResourceExt};

use crate::source::kubernetes::{endless, settings};

/// How long a pod waits for the API server's word about its namespace; the API server waits 5 s for us.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The namespaces' annotations. Clones are the same.
#[derive(Clone)]
pub(super) struct Namespaces {
    /// Guards the annotations by namespace: held for one look or one change, never across an await. As many as there are namespaces.
    known: Arc<Mutex<HashMap<String, Annotations>>>,
    api: Api<Namespace>,
}

impl Namespaces {
    /// The annotations of a namespace; of one that is not there, none.
    ///
    /// # Errors
    /// When the namespace is not known yet and the API server does not answer.
    pub(super) async fn annotations(&self, name: &str) -> anyhow::Result<Annotations> {
        if let Some(known) = self.lock().get(name) {
            return Ok(known.clone());
        }
        let asked = tokio::time::timeout(ASK_TIMEOUT, self.api.get_metadata_opt(name)).await;
        let found = asked.map_err(|_| anyhow::anyhow!("asking for namespace {name} took too long"))??;
        Ok(found.map(|namespace| ours(&namespace.metadata)).unwrap_or_default())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Annotations>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the namespaces; the gate opens with the first complete list. `silence`: a watch that is silent for so long is opened anew.
pub(super) fn follow(client: Client, silence: Duration, gate: Gate, tasks: &Tasks) -> Namespaces {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let namespaces = Namespaces { known: Arc::default(), api: Api::all(client) };
    let following = namespaces.clone();
    tasks.spawn_until_stopped("namespaces", async move {
        let mut events = endless(move || watcher(api.clone(), settings(silence)).boxed()).boxed();
        let mut listed = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(namespace)) => {
                    listed.insert(namespace.name_any(), ours(&namespace.metadata));
                }
                Ok(Event::InitDone) => {
                    *following.lock() = std::mem::take(&mut listed);
                    gate.open();
                }
                Ok(Event::Apply(namespace)) => {
                    following.lock().insert(namespace.name_any(), ours(&namespace.metadata));
                }
                Ok(Event::Delete(namespace)) => {
                    following.lock().remove(&namespace.name_any());
                }
                // What is known stays in force: an outage of the API server brings no pods either.
                Err(error) => tracing::warn!(%error, "the watch of namespaces broke off; trying again"),
            }
        }
    });
    namespaces
}

/// The annotations that are ours: those of others may be large.
fn ours(metadata: &ObjectMeta) -> Annotations {
    let all = metadata.annotations.iter().flatten();
    all.filter(|(name, _)| name.starts_with("conduit.io/"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
