//! One object of the API server's, decoded by itself into the few fields that Conduit uses. One that cannot be understood
//! becomes its name with the reason, never an error of the list or the watch that it came in: what stands beside it is not
//! its concern. It depends on kube for the shape that its client wants, and on nothing that asks a server.

use std::borrow::Cow;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::objects::{EndpointSlice, Job, Key, Kind, Node, Object, Pod, ReplicaSet, Service};

/// A reason is cut after this many characters: it is shown in one line.
const REASON_CHARS_MAX: usize = 300;

/// A kind of object as the API server has it.
pub trait Watched: DeserializeOwned + Clone + Debug + Send + 'static {
    /// Its kind.
    const KIND: Kind;
    /// Its API group; empty for the core one.
    const GROUP: &'static str;
    /// Its name in paths.
    const PLURAL: &'static str;
    /// Whether its metadata is all that is asked for.
    const METADATA_ONLY: bool = false;
    /// The object.
    fn object(self) -> Object;
}

/// An object, or why it cannot be understood.
#[derive(Debug, Clone)]
pub struct Lean<T> {
    // Of these only what the watch itself needs: name, namespace, resource version.
    meta: ObjectMeta,
    kind: std::marker::PhantomData<T>,
    /// What could be understood.
    pub object: Result<Object, String>,
}

impl<T: Watched> Lean<T> {
    /// What names it, also where nothing else of it could be understood.
    #[must_use]
    pub fn key(&self) -> Key {
        let namespace = self.meta.namespace.as_deref().filter(|text| !text.is_empty()).unwrap_or("default");
        (T::KIND, namespace.to_owned(), self.meta.name.clone().unwrap_or_default())
    }
}

impl<'de, T: Watched> Deserialize<'de> for Lean<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // The whole object lives for this moment only. Whatever is JSON is taken.
        let value = Value::deserialize(from)?;
        let text = |field: &str| Some(value.get("metadata")?.get(field)?.as_str()?.to_owned());
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        let object = T::deserialize(value)
            .map_err(|error| error.to_string().chars().take(REASON_CHARS_MAX).collect::<String>())
            .map(|object| object.object().trimmed())
            .and_then(|object| object.check().map(|()| object));
        Ok(Self { meta, kind: std::marker::PhantomData, object })
    }
}

impl<T: Watched> Resource for Lean<T> {
    type DynamicType = ();
    type Scope = DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        T::KIND.name().into()
    }
    fn group((): &()) -> Cow<'_, str> {
        T::GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        T::PLURAL.into()
    }
    fn metadata_api() -> bool {
        T::METADATA_ONLY
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

macro_rules! watched {
    ($kind:ident, $group:literal, $plural:literal, $metadata_only:literal) => {
        impl Watched for $kind {
            const KIND: Kind = Kind::$kind;
            const GROUP: &'static str = $group;
            const PLURAL: &'static str = $plural;
            const METADATA_ONLY: bool = $metadata_only;
            fn object(self) -> Object {
                Object::$kind(Box::new(self))
            }
        }
    };
}

watched!(Pod, "", "pods", false);
watched!(Service, "", "services", false);
watched!(EndpointSlice, "discovery.k8s.io", "endpointslices", false);
watched!(Node, "", "nodes", false);
watched!(ReplicaSet, "apps", "replicasets", true);
watched!(Job, "batch", "jobs", true);

#[cfg(test)]
#[path = "lean_tests.rs"]
mod tests;
