//! Conduit's control plane. The modules stand in the order in which a change meets them: `source` reads it, `model` applies it,
//! `view` says what a proxy sees of it, `store` publishes it, `serve` sends it; the rest stands beside that way.

pub mod config;
pub mod start;
pub mod surroundings;
pub mod kubernetes;
pub mod source;
pub mod model;
pub mod view;
pub mod store;
pub mod serve;
pub mod identity;
pub mod webhook;
pub mod metrics;
pub mod operator;
pub mod page;
