//! Live events for whoever taps. Nobody tapping costs one relaxed load for a request; a tap that is slow loses events, which
//! are counted and shown to it, and never delays a request. Everything is bounded: taps, events in flight, requests a second.

mod hub;
pub mod server;

pub use hub::{EndFacts, Hub, StartFacts, Subscription, Ticket};
