//! What the command line asks: answers from the model and the aggregate, and taps and inspections that are passed on to
//! proxies. Served on a unix socket that only its owner can open, and in a cluster on a port that the API server forwards to, where
//! `access` asks the API server what each caller may.

pub mod port;
pub mod access;
pub mod rows;
pub mod service;
pub mod tap;
pub mod proxies;
