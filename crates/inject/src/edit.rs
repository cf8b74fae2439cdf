//! Changes to a JSON value that are written down as a JSON Patch while they are made, so that the patched object and the patch
//! cannot differ. Only `add` is needed: injection takes nothing away.
//!
//! Sources: RFC 6901 (JSON Pointer), RFC 6902 (JSON Patch).

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One operation of a JSON Patch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operation {
    /// Always `add`: on a member that exists it replaces the value (RFC 6902, 4.1).
    pub op: &'static str,
    /// Where.
    pub path: String,
    /// What.
    pub value: Value,
}

/// A value that is being edited.
pub(crate) struct Editor {
    value: Value,
    operations: Vec<Operation>,
}

impl Editor {
    pub(crate) const fn new(value: Value) -> Self {
        Self { value, operations: Vec::new() }
    }

    /// Sets a member; objects on the way to it are made where there are none.
    pub(crate) fn set(&mut self, path: &[&str], value: Value) {
        if look(&self.value, path) == Some(&value) {
            return;
        }
        self.make(&path[..path.len().saturating_sub(1)], json!({}));
        self.write(path, value);
    }

    /// Inserts into a list, which is made where there is none.
    pub(crate) fn insert(&mut self, path: &[&str], index: usize, item: Value) {
        self.make(path, json!([]));
        let list = look(&self.value, path).and_then(Value::as_array);
        let index = index.min(list.map_or(0, Vec::len));
        self.record(&[path, &[index.to_string().as_str()]].concat(), item.clone());
        if let Some(list) = look_mut(&mut self.value, path).and_then(Value::as_array_mut) {
            list.insert(index, item);
        }
    }

    /// Adds to the end of a list.
    pub(crate) fn append(&mut self, path: &[&str], item: Value) {
        self.insert(path, usize::MAX, item);
    }

    /// The edited value, and what was done.
    pub(crate) fn finish(self) -> (Value, Vec<Operation>) {
        (self.value, self.operations)
    }

    /// Makes every object on the way, and `last` at the end, where there is none (or `null`, which Kubernetes takes for none).
    fn make(&mut self, path: &[&str], last: Value) {
        for depth in 1..=path.len() {
            let (part, empty) = (&path[..depth], if depth == path.len() { last.clone() } else { json!({}) });
            let fits = look(&self.value, part).is_some_and(|there| there.is_object() || there.is_array());
            if !fits {
                self.write(part, empty);
            }
        }
    }

    fn write(&mut self, path: &[&str], value: Value) {
        self.record(path, value.clone());
        let Some((name, parent)) = path.split_last() else { return };
        let parent = look_mut(&mut self.value, parent);
        if let Some(parent) = parent.and_then(Value::as_object_mut) {
            Map::insert(parent, (*name).to_owned(), value);
        }
    }

    fn record(&mut self, path: &[&str], value: Value) {
        let escaped = path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1")));
        self.operations.push(Operation { op: "add", path: escaped.collect(), value });
    }
}

fn look<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(*name))
}

fn look_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, name| value.get_mut(*name))
}

#[cfg(test)]
#[path = "edit_tests.rs"]
pub(crate) mod tests;
