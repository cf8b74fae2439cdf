//! What was built: the version that every Conduit binary prints and reports. Depends on nothing.
//! Deliberately absent: a commit or a date, so that the same sources give the same binary.

/// The version of this workspace, as in `1.2.3`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
