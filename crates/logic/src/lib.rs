//! Conduit's words and decisions: what things are called, and what is decided about them. It has no socket, no task, no
//! clock and no environment; time and randomness are arguments. Everything here can be tested without running anything.

pub mod words;
pub mod ports;
pub mod balance;
pub mod breaker;
pub mod classify;
pub mod detect;
pub mod framing;
pub mod http2;
pub mod hello;
pub mod stats;
pub mod tap;
