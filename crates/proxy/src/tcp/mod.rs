//! Tools for byte streams: listening, dialling, the stream type of the data path, and moving bytes between two of them. They
//! know nothing of HTTP, discovery or policy, and never call a stage.

pub mod listen;
pub mod dial;
pub mod alive;
pub mod stream;
pub mod pump;
mod splice;
