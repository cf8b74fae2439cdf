//! Labels or annotations, of which few are kept: a list, because a map's nodes would be mostly empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Texts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts(Box<[(String, String)]>);

impl Texts {
    /// The text of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, text)| text.as_str())
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Keeps only those with such a name.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        let all = std::mem::take(&mut self.0).into_iter();
        self.0 = all.filter(|(name, _)| wanted(name)).collect::<Vec<_>>().into_boxed_slice();
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // In an order of its own, so that equal ones are equal.
        Ok(Self(BTreeMap::deserialize(from)?.into_iter().collect()))
    }
}
