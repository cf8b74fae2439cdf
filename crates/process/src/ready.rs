//! Readiness: a process is ready when every gate that its parts registered is open. Depends on the standard library only.
//! Deliberately absent: a reason text per gate (the log has it) and waiting for readiness (an orchestrator polls `/ready`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The gates of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// Guards the list of gates: held while one is added or the few are read, never across an await.
    gates: Arc<Mutex<Vec<Gate>>>,
}

impl Readiness {
    /// No gate yet, which counts as ready: register every gate before the admin port is served.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a closed gate. The part that owns it opens it; a gate that is dropped unopened stays closed.
    pub fn gate(&self, name: &'static str) -> Gate {
        let gate = Gate { name, open: Arc::default() };
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).push(gate.clone());
        gate
    }

    /// Whether every gate is open.
    pub fn is_ready(&self) -> bool {
        self.pending().is_empty()
    }

    /// The names of the gates that are closed, in the order of their registration.
    pub fn pending(&self) -> Vec<&'static str> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().filter(|gate| !gate.is_open()).map(|gate| gate.name).collect()
    }
}

/// One condition of readiness. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    open: Arc<AtomicBool>,
}

impl Gate {
    /// The condition holds.
    pub fn open(&self) {
        if !self.open.swap(true, Ordering::AcqRel) {
            tracing::info!(gate = self.name, "gate open");
        }
    }

    /// The condition no longer holds.
    pub fn close(&self) {
        if self.open.swap(false, Ordering::AcqRel) {
            tracing::info!(gate = self.name, "gate closed: not ready");
        }
    }

    /// Whether the condition holds.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }
}

#[cfg(test)]
#[path = "ready_tests.rs"]
mod tests;
