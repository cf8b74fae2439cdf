//! Accepts the connection of its own that a mesh proxy opens for a tunnel that moves a lot (`http::trunk::bypass` says how both ends go
//! over to it). Only the proxy that opened the tunnel can ask, since it proves that it is the other end of the shared connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use conduit_logic::words::Identity;
use tokio::sync::oneshot;

use super::Inbound;
use crate::http::trunk::Trunk;
use crate::http::trunk::bypass::{self, Way};
use crate::tcp::stream::Io;

/// The shared connections whose tunnels may get one of their own, by their proofs; as many as there are.
#[derive(Debug, Default)]
pub struct Trunks {
    // Held for an insertion, a removal or a lookup.
    known: Mutex<HashMap<String, (Weak<Trunk>, Identity)>>,
}

impl Trunks {
    /// Remembers a connection for as long as the result lives.
    pub fn enter(self: &Arc<Self>, proof: String, trunk: &Arc<Trunk>, peer: &Identity) -> Entered {
        let entry = (Arc::downgrade(trunk), peer.clone());
        self.lock().insert(proof.clone(), entry);
        Entered { trunks: self.clone(), proof }
    }

    fn find(&self, proof: &str, peer: &Identity) -> Option<Arc<Trunk>> {
        let known = self.lock();
        let (trunk, known) = known.get(proof)?;
        if known == peer { trunk.upgrade() } else { None }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Weak<Trunk>, Identity)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection is known while this lives.
#[derive(Debug)]
pub struct Entered {
    trunks: Arc<Trunks>,
    proof: String,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.trunks.lock().remove(&self.proof);
    }
}

/// Serves a connection for one tunnel, from `peer`: gives it over, and ends with it.
pub async fn accept(inbound: &Inbound, io: Io, source: SocketAddr, peer: &Identity) {
    let (guard, ended) = oneshot::channel::<()>();
    let way = Way { io, unacknowledged: inbound.config.unacknowledged_timeout, guard: Box::new(guard) };
    let find = |proof: &str| inbound.bypasses.find(proof, peer);
    if bypass::answer(way, find, inbound.config.tls_timeout).await {
        // Until then it counts as a connection from outside. Nothing is ever sent.
        _ = ended.await;
    } else {
        tracing::debug!(%source, "a connection for a tunnel that is not there");
    }
}

#[cfg(test)]
#[path = "bypass_tests.rs"]
mod tests;
