//! Where objects come from: a directory of manifests, or the API server of a cluster. A source turns what it reads into events;
//! everything behind it cannot tell one source from another.

use std::collections::HashSet;
use std::path::PathBuf;

pub mod files;
pub mod kubernetes;
pub mod lean;
pub mod objects;
pub mod texts;

use objects::{Key, Kind, Object};

/// What changed at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The object is now so.
    Apply(Object),
    /// It is gone.
    Delete(Key),
    /// These are all that there are of a kind now. Those in `keep` are there too, and stay as they were.
    Replace {
        /// The kind.
        kind: Kind,
        /// All that could be understood.
        objects: Vec<Object>,
        /// Those that could not.
        keep: HashSet<Key>,
    },
}

/// Where something cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where it is not known.
        line: usize,
    },
    /// In an object of the API server's.
    Object(Key),
}

/// What cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub reason: String,
}

impl Problem {
    /// A problem in a file.
    #[must_use]
    pub const fn in_file(path: PathBuf, line: usize, reason: String) -> Self {
        Self { place: Place::File { path, line }, reason }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::File { path, line } => write!(f, "{}:{line}: {}", path.display(), self.reason),
            Place::Object((kind, namespace, name)) => {
                write!(f, "{} {namespace}/{name}: {}", kind.name(), self.reason)
            }
        }
    }
}
