//! Where an address leads: asked of discovery once, then followed and kept. An address outside the cluster's networks is never
//! asked for; one of which nothing is known in time is treated as configured (`when_unknown`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::balance::Service;
use crate::config::{Config, WhenUnknown};
use crate::control::{Discovery, Lookup};

/// Destinations kept at the most: an application that talks to more is a scanner or a broken client.
const SERVICES_MAX: usize = 10_000;
/// A destination that nobody used for this long is forgotten, and discovery is told.
const UNUSED_AGE: Duration = Duration::from_secs(600);

/// Where an address leads.
#[derive(Debug)]
pub enum Target {
    /// To a service or a pod that discovery knows.
    Service(Arc<Service>),
    /// To nothing of the mesh's: pass it through untouched.
    Passthrough,
    /// Nothing is known, and the configuration says not to guess.
    Refuse,
}

/// The destinations in use.
pub struct Services {
    discovery: Discovery,
    // Guards the map for one lookup, insertion or sweep; never held while waiting.
    known: Mutex<HashMap<SocketAddr, Arc<Service>>>,
}

impl Services {
    /// None yet.
    #[must_use]
    pub fn new(discovery: Discovery) -> Self {
        Self { discovery, known: Mutex::default() }
    }

    /// Looks the address up; waits for discovery only the first time.
    pub async fn find(&self, config: &Config, addr: SocketAddr) -> Target {
        if !config.cluster_networks.iter().any(|network| network.contains(addr.ip())) {
            return Target::Passthrough;
        }
        if let Some(service) = self.lock().get(&addr) {
            return if service.view().is_some() {
                Target::Service(service.clone())
            } else {
                Target::Passthrough
            };
        }
        match self.discovery.outbound(addr).await {
            Lookup::Known(watch) => {
                let mut known = self.lock();
                if known.len() >= SERVICES_MAX {
                    known.retain(|_, service| Arc::strong_count(service) > 1);
                }
                Target::Service(
                    known.entry(addr).or_insert_with(|| Arc::new(Service::new(addr, watch))).clone(),
                )
            }
            Lookup::Passthrough => Target::Passthrough,
            Lookup::Unanswered => match config.when_unknown {
                WhenUnknown::Passthrough => Target::Passthrough,
                WhenUnknown::Refuse => Target::Refuse,
            },
        }
    }

    /// Closes idle connections and forgets destinations that nobody uses; called now and then.
    pub fn sweep(&self, idle: Duration) {
        let services: Vec<_> = {
            let mut known = self.lock();
            known
                .retain(|_, service| Arc::strong_count(service) > 1 || service.used().elapsed() < UNUSED_AGE);
            known.values().cloned().collect()
        };
        for service in services {
            service.drop_idle(idle);
        }
    }

    /// All destinations, for diagnostics.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Service>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<Service>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
