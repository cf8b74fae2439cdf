//! What owns the owners of pods: the Deployment of a ReplicaSet, the CronJob of a Job, or whatever else somebody's controller
//! puts above them. Of all their fields only this is kept.

use std::collections::HashMap;

use conduit_logic::words::Workload;

use super::Name;
use crate::source::objects::{Kind, LABEL_TEMPLATE, Owner, Pod, namespace};

/// Owners of ReplicaSets and Jobs.
#[derive(Debug, Default)]
pub(super) struct Owners {
    sets: HashMap<Name, Option<Owner>>,
    jobs: HashMap<Name, Option<Owner>>,
}

impl Owners {
    fn of(&mut self, kind: Kind) -> &mut HashMap<Name, Option<Owner>> {
        if kind == Kind::Job { &mut self.jobs } else { &mut self.sets }
    }

    /// Says whether it has changed.
    pub(super) fn insert(&mut self, kind: Kind, name: Name, owner: Option<Owner>) -> bool {
        let before = self.of(kind).insert(name, owner.clone());
        before != Some(owner)
    }

    /// Says whether there was one.
    pub(super) fn remove(&mut self, kind: Kind, name: &Name) -> bool {
        self.of(kind).remove(name).is_some()
    }

    pub(super) fn names(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        if kind == Kind::Job { self.jobs.keys() } else { self.sets.keys() }
    }

    /// The workload that a pod belongs to. A ReplicaSet that is not known is taken for its Deployment's by its name, which is the
    /// Deployment's with the hash of its template.
    pub(super) fn workload_of(&self, pod: &Pod) -> Workload {
        let namespace = namespace(&pod.metadata).to_owned();
        let of = |kind: &str, name: &str| Workload {
            namespace: namespace.clone(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let Some(owner) = pod.metadata.controller() else { return of("Pod", &pod.metadata.name) };
        let above = match owner.kind.as_str() {
            "ReplicaSet" => self.sets.get(&(namespace.clone(), owner.name.clone())),
            "Job" => self.jobs.get(&(namespace.clone(), owner.name.clone())),
            _ => return of(&owner.kind, &owner.name),
        };
        match above {
            Some(Some(above)) => of(&above.kind, &above.name),
            Some(None) => of(&owner.kind, &owner.name),
            None => {
                let hash = pod.metadata.labels.get(LABEL_TEMPLATE).map(|hash| format!("-{hash}"));
                match hash.and_then(|hash| owner.name.strip_suffix(&hash)) {
                    Some(deployment) if owner.kind == "ReplicaSet" => of("Deployment", deployment),
                    _ => of(&owner.kind, &owner.name),
                }
            }
        }
    }
}
