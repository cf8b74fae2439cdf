//! The names at one place of an index. Nearly always it is a single one, for which a node of a tree, or a table, would take ten times as much
//! memory.

use super::Name;

/// Names in order, each once, with how often it was put in.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(Name, u32)>);

impl Names {
    pub(super) fn insert(&mut self, name: &Name) {
        match self.0.binary_search_by(|(other, _)| other.cmp(name)) {
            Ok(at) => self.0[at].1 += 1,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (name.clone(), 1));
            }
        }
    }

    /// Takes a name out as often as it was put in.
    pub(super) fn remove(&mut self, name: &Name) {
        self.0.retain(|(other, _)| other != name);
    }

    /// Takes a name out once.
    pub(super) fn remove_once(&mut self, name: &Name) {
        if let Ok(at) = self.0.binary_search_by(|(other, _)| other.cmp(name)) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.remove(at);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&Name> {
        self.iter().next()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().map(|(name, _)| name)
    }
}
