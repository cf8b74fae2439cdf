//! Wrong settings, told where they are looked for: an Event on each pod that has one. The pod has no name while it is reviewed,
//! so the review labels it and writes the problems into an annotation; this watches for the label. The Event's name follows
//! from the pod, so that several replicas tell of it once.

use conduit_inject::names;
use conduit_process::tasks::Tasks;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Event as KubernetesEvent, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

/// Bytes of an Event's message: the API server takes no more than 1024.
const MESSAGE_BYTES_MAX: usize = 1000;
/// Who tells.
const COMPONENT: &str = "conduit-injector";

/// Tells of wrong settings until the tasks stop.
pub(super) fn tell(client: Client, tasks: &Tasks) {
    tasks.spawn_until_stopped("settings", async move {
        let labelled = Config::default().labels(&format!("{}=true", names::LABEL_INVALID));
        let pods: Api<PartialObjectMeta<Pod>> = Api::all(client.clone());
        let mut events = watcher(pods, labelled).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(pod) | Event::InitApply(pod)) => tell_of(&client, &pod.metadata).await,
                Ok(Event::Init | Event::InitDone | Event::Delete(_)) => {}
                Err(error) => tracing::debug!(%error, "the watch of wrong settings broke off; trying again"),
            }
        }
    });
}

async fn tell_of(client: &Client, pod: &ObjectMeta) {
    let Some(event) = event(pod, Timestamp::now()) else { return };
    let api: Api<KubernetesEvent> =
        Api::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or_default());
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => {}
        // Another replica told of it, or we did before.
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => tracing::warn!(%error, "a wrong setting could not be told of on its pod"),
    }
}

/// The Event about a pod's wrong settings.
fn event(pod: &ObjectMeta, now: Timestamp) -> Option<KubernetesEvent> {
    let (name, namespace, uid) = (pod.name.as_ref()?, pod.namespace.as_ref()?, pod.uid.as_ref()?);
    let mut message = pod.annotations.as_ref()?.get(names::PROBLEMS)?.clone();
    let end = (0..=MESSAGE_BYTES_MAX.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    message.truncate(end.unwrap_or(0));
    let time = Some(Time(now));
    Some(KubernetesEvent {
        metadata: ObjectMeta {
            name: Some(format!("conduit-settings-{uid}")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        },
        reason: Some("InvalidSetting".to_owned()),
        message: Some(message),
        type_: Some("Warning".to_owned()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        first_timestamp: time.clone(),
        last_timestamp: time,
        count: Some(1),
        ..KubernetesEvent::default()
    })
}

#[cfg(test)]
#[path = "problems_tests.rs"]
mod tests;
