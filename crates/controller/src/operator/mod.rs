//! What the command line asks: answers from the model and the aggregate, and taps and inspections that are passed on to
//! proxies. Served on a unix socket that only its owner can open.

pub mod rows;
pub mod service;
pub mod tap;
pub mod proxies;
