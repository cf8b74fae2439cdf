//! Where objects come from: today a directory of manifests. A source turns what it reads into events; everything behind it
//! cannot tell one source from another.

pub mod files;
pub mod objects;

use objects::{Key, Object};

/// What changed at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The object is now so.
    Apply(Object),
    /// It is gone.
    Delete(Key),
}
