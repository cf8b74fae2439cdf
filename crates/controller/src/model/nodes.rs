//! Where nodes are: their zones and addresses. Nothing else of a node is kept.

use std::collections::HashMap;
use std::net::IpAddr;

use super::names::Names;
use super::{Name, remove};
use crate::source::objects::{LABEL_ZONE, Node};

#[derive(Debug, PartialEq, Eq)]
struct Place {
    zone: String,
    addresses: Vec<IpAddr>,
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    places: HashMap<Name, Place>,
    zones: HashMap<String, String>,
    by_ip: HashMap<IpAddr, Names>,
}

impl Nodes {
    /// Takes a node in; says whether anything of it has changed.
    pub(super) fn insert(&mut self, name: Name, node: &Node) -> bool {
        let place = Place {
            zone: node.metadata.labels.get(LABEL_ZONE).unwrap_or_default().to_owned(),
            addresses: node.status.addresses.iter().filter_map(|at| at.address.parse().ok()).collect(),
        };
        if self.places.get(&name) == Some(&place) {
            return false;
        }
        self.remove(&name);
        for ip in &place.addresses {
            self.by_ip.entry(*ip).or_default().insert(&name);
        }
        self.zones.insert(name.1.clone(), place.zone.clone());
        self.places.insert(name, place);
        true
    }

    pub(super) fn remove(&mut self, name: &Name) {
        self.zones.remove(&name.1);
        for ip in self.places.remove(name).map(|place| place.addresses).unwrap_or_default() {
            remove(&mut self.by_ip, &ip, name);
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.places.keys()
    }

    /// All addresses of all nodes.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.by_ip.keys().copied()
    }

    /// Whether a node has this address.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        self.by_ip.contains_key(&ip)
    }

    pub(super) fn zone(&self, node: &str) -> &str {
        self.zones.get(node).map(String::as_str).unwrap_or_default()
    }
}
