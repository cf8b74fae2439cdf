//! Writes what was added to a value into the text that the value was read from, by insertions only, and takes it out again. What is inserted is
//! one line of JSON for each member or item, with a mark at its end; in braces and brackets, where no mark can be, what is ours is known by
//! its name. Deliberately absent: what is to be added (`manual`), and any change of what was there.

use conduit_inject::names;
use conduit_logic::ports;
use serde_json::Value;

use super::text::{Edit, MARK, column};
use super::tree::{Mapping, Node, Sequence};

/// Between the key and the value of a list or mapping that was not there before: in braces this is how it is told from an empty one.
const MADE: &str = ":   ";

/// The lists of a pod in which items are inserted, and the names that only ours have.
const LISTS: [(&str, &[&str]); 3] = [
    ("initContainers", &[names::INIT_CONTAINER, names::VALIDATE_CONTAINER, names::PROXY_CONTAINER]),
    ("containers", &[names::PROXY_CONTAINER]),
    ("volumes", &[names::VOLUME]),
];

/// The mappings of a pod's metadata in which members are inserted, and those that only we write.
const MAPPINGS: [(&str, &[&str]); 2] = [
    ("labels", &[ports::LABEL_MESHED, names::LABEL_INVALID]),
    ("annotations", &[names::REDIRECTION, names::TRUST_ANCHORS, names::PROXY_VERSION, names::PROBLEMS]),
];

/// The insertions that make this node's value into `after`.
///
/// # Errors
/// When that is not possible by insertions, or not without changing other places too.
pub(super) fn insertions(
    text: &str,
    node: &Node,
    (before, after): (&Value, &Value),
    end_of_line: &str,
    edits: &mut Vec<Edit>,
) -> Result<(), String> {
    if before == after {
        return Ok(());
    }
    match (node, before, after) {
        (Node::Mapping(mapping), Value::Object(old), Value::Object(new)) => {
            own(mapping.is_anchored)?;
            let added: Vec<_> = new.iter().filter(|(key, _)| !old.contains_key(*key)).collect();
            edits.extend(members(text, mapping, &added, end_of_line)?);
            for (key, value) in old {
                let Some(after) = new.get(key).filter(|after| *after != value) else { continue };
                let node = mapping.get(key).ok_or_else(|| format!("`{key}` is written elsewhere"))?;
                insertions(text, node, (value, after), end_of_line, edits)?;
            }
            Ok(())
        }
        (Node::Sequence(sequence), Value::Array(old), Value::Array(new)) => {
            own(sequence.is_anchored)?;
            let surplus = new.len().saturating_sub(old.len());
            let first = (0..=surplus).find(|first| new[*first..].starts_with(old));
            let first = first.ok_or("a list would be changed and not only added to")?;
            edits.extend(items(text, sequence, &new[..first], &new[first + old.len()..], end_of_line)?);
            Ok(())
        }
        (Node::Alias { .. }, ..) => Err("a part of it is written elsewhere (a YAML alias)".to_owned()),
        (Node::Scalar { is_null: true, .. }, ..) => {
            Err("a part of it has no value: write `{}` or `[]` there".to_owned())
        }
        _ => Err("a value would be changed and not only added to".to_owned()),
    }
}

fn own(is_anchored: bool) -> Result<(), String> {
    match is_anchored {
        true => {
            Err("a part of it has a YAML anchor or tag: an edit could change other places too".to_owned())
        }
        false => Ok(()),
    }
}

/// Before the first key, or after the brace.
fn members(
    text: &str,
    mapping: &Mapping,
    added: &[(&String, &Value)],
    end_of_line: &str,
) -> Result<Option<Edit>, String> {
    if added.is_empty() {
        return Ok(None);
    }
    let is_collection = |value: &Value| value.is_object() || value.is_array();
    if mapping.is_flow {
        let member = |(key, value): &(&String, &Value)| {
            let colon = if is_collection(value) { MADE } else { ": " };
            format!("\"{key}\"{colon}{}", value)
        };
        return Ok(Some(between(mapping.start + 1, added.iter().map(member), mapping.entries.is_empty())));
    }
    let at = mapping.entries.first().map(|entry| entry.at).ok_or("an empty mapping without braces")?;
    let pad = " ".repeat(column(text, at)?);
    let line = |(key, value): &(&String, &Value)| format!("{key}: {value} {MARK}{end_of_line}{pad}");
    Ok(Some(Edit { from: at, to: at, by: added.iter().map(line).collect() }))
}

/// In front of the first item and behind the last.
fn items(
    text: &str,
    sequence: &Sequence,
    front: &[Value],
    back: &[Value],
    end_of_line: &str,
) -> Result<Vec<Edit>, String> {
    let mut edits = Vec::new();
    if sequence.is_flow {
        if sequence.items.is_empty() {
            let all = front.iter().chain(back).map(Value::to_string);
            return Ok(vec![between(sequence.start + 1, all, true)]);
        }
        if !front.is_empty() {
            edits.push(between(sequence.start + 1, front.iter().map(Value::to_string), false));
        }
        if let (Some(last), false) = (sequence.items.last(), back.is_empty()) {
            let by = back.iter().map(|item| format!(", {item}")).collect();
            edits.push(Edit { from: last.end(), to: last.end(), by });
        }
        return Ok(edits);
    }
    let (first, last) = (sequence.items.first(), sequence.items.last());
    let (Some(_), Some(last)) = (first, last) else {
        return Err("a list without items or brackets".to_owned());
    };
    let at = dash(text, sequence).ok_or("a list whose first dash is not found")?;
    let pad = " ".repeat(column(text, at)?);
    if !front.is_empty() {
        let line = |item: &Value| format!("- {item} {MARK}{end_of_line}{pad}");
        edits.push(Edit { from: at, to: at, by: front.iter().map(line).collect() });
    }
    if !back.is_empty() {
        let at = line_end(text, last.end());
        let line = |item: &Value| format!("{end_of_line}{pad}- {item} {MARK}");
        edits.push(Edit { from: at, to: at, by: back.iter().map(line).collect() });
    }
    Ok(edits)
}

/// Elements after an opening brace or bracket.
fn between(at: usize, elements: impl Iterator<Item = String>, is_empty: bool) -> Edit {
    let elements: Vec<String> = elements.collect();
    let comma = if is_empty { "" } else { ", " };
    Edit { from: at, to: at, by: format!("{}{comma}", elements.join(", ")) }
}

/// Where the first dash of a list in lines is.
fn dash(text: &str, sequence: &Sequence) -> Option<usize> {
    if text[sequence.start..].starts_with('-') {
        return Some(sequence.start);
    }
    let before = text[..sequence.items.first()?.start()].trim_end_matches(' ');
    before.ends_with('-').then(|| before.len() - 1)
}

/// Where the line of this place ends, before its end of line.
fn line_end(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    if text[..end].ends_with('\r') { end - 1 } else { end }
}

/// What takes out of a pod all that [`insertions`] put into it; empty where nothing was.
pub(super) fn removals(text: &str, pod: &Node) -> Vec<Edit> {
    let mut edits = Vec::new();
    let Some(whole) = pod.mapping() else { return edits };
    if !take_members(text, whole, &["metadata"], &mut edits).is_empty() {
        // The whole of it was made: there is nothing of ours inside that is not gone with it.
    } else if let Some(metadata) = pod.get("metadata").and_then(Node::mapping) {
        let made = take_members(text, metadata, &MAPPINGS.map(|(name, _)| name), &mut edits);
        for (name, ours) in MAPPINGS.iter().filter(|(name, _)| !made.contains(name)) {
            if let Some(mapping) = metadata.get(name).and_then(Node::mapping) {
                take_members(text, mapping, ours, &mut edits);
            }
        }
    }
    if let Some(spec) = pod.get("spec").and_then(Node::mapping) {
        let made = take_members(text, spec, &LISTS.map(|(name, _)| name), &mut edits);
        for (name, ours) in LISTS.iter().filter(|(name, _)| !made.contains(name)) {
            if let Some(Node::Sequence(sequence)) = spec.get(name) {
                take_items(text, sequence, ours, &mut edits);
            }
        }
    }
    edits
}

/// Takes members of these names out, where they were inserted; gives their names.
fn take_members<'a>(text: &str, mapping: &Mapping, of: &[&'a str], edits: &mut Vec<Edit>) -> Vec<&'a str> {
    let mut taken = Vec::new();
    for entry in &mapping.entries {
        let Some(name) = of.iter().find(|name| **name == entry.key) else { continue };
        let end = entry.value.end();
        let edit = if mapping.is_flow {
            let is_collection = matches!(entry.value, Node::Mapping(_) | Node::Sequence(_));
            let is_made = text[entry.end..].starts_with(MADE) && is_ours_alone(name, &entry.value);
            (!is_collection || is_made).then(|| Edit {
                from: entry.at,
                to: end + comma(text, end),
                by: String::new(),
            })
        } else {
            // What ends on another line is a list of somebody's whose last item is ours.
            (!text[entry.at..end].contains('\n')).then(|| marked(text, entry.at, end)).flatten()
        };
        if let Some(edit) = edit {
            edits.push(edit);
            taken.push(*name);
        }
    }
    taken
}

/// Whether nothing but ours is in this part of a pod.
fn is_ours_alone(name: &str, node: &Node) -> bool {
    let ours = |of: &[(&str, &'static [&'static str])]| {
        of.iter().find(|(each, _)| *each == name).map(|(_, ours)| *ours)
    };
    match node {
        Node::Mapping(mapping) => mapping.entries.iter().all(|entry| match ours(&MAPPINGS) {
            Some(ours) => ours.contains(&&*entry.key),
            None => is_ours_alone(&entry.key, &entry.value),
        }),
        Node::Sequence(sequence) => sequence.items.iter().all(|item| {
            let name = item.text("name");
            ours(&LISTS).is_some_and(|ours| name.is_some_and(|name| ours.contains(&name)))
        }),
        Node::Scalar { .. } | Node::Alias { .. } => false,
    }
}

/// Takes items of these names out, where they were inserted.
fn take_items(text: &str, sequence: &Sequence, ours: &[&str], edits: &mut Vec<Edit>) {
    let is_ours = |item: &Node| item.text("name").is_some_and(|name| ours.contains(&name));
    let mut before: Option<&Node> = None;
    for item in &sequence.items {
        if !is_ours(item) {
            before = Some(item);
            continue;
        }
        let edit = match (sequence.is_flow, before) {
            (true, Some(before)) => Some(Edit { from: before.end(), to: item.end(), by: String::new() }),
            (true, None) => {
                let to = item.end() + comma(text, item.end());
                Some(Edit { from: item.start(), to, by: String::new() })
            }
            (false, Some(_)) => behind(text, item),
            (false, None) => text[..item.start()]
                .ends_with("- ")
                .then(|| marked(text, item.start() - 2, item.end()))
                .flatten(),
        };
        // What stands behind ours is cut from the same place.
        if sequence.is_flow && before.is_some() {
            before = Some(item);
        }
        edits.extend(edit);
    }
}

/// From here to the content of the next line, where this line ends with the mark.
fn marked(text: &str, from: usize, end: usize) -> Option<Edit> {
    let rest = text[end..].strip_prefix(' ')?.strip_prefix(MARK)?;
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'))?;
    let pad = column(text, from).ok()?;
    let rest = rest.strip_prefix(&*" ".repeat(pad))?;
    Some(Edit { from, to: text.len() - rest.len(), by: String::new() })
}

/// From the end of the line before to the mark.
fn behind(text: &str, item: &Node) -> Option<Edit> {
    let rest = text[item.end()..].strip_prefix(' ')?.strip_prefix(MARK)?;
    let line = text[..item.start()].rfind('\n')?;
    let from = if text[..line].ends_with('\r') { line - 1 } else { line };
    Some(Edit { from, to: text.len() - rest.len(), by: String::new() })
}

/// How long the comma behind an element is, with its blank.
fn comma(text: &str, end: usize) -> usize {
    if text[end..].starts_with(", ") { 2 } else { 0 }
}

/// Takes out of a pod what is only ours, and what is empty without it.
pub(super) fn forget(pod: &mut Value) {
    for (name, ours) in LISTS {
        let Some(list) = pod["spec"].get_mut(name).and_then(Value::as_array_mut) else { continue };
        list.retain(|item| !item["name"].as_str().is_some_and(|name| ours.contains(&name)));
        if list.is_empty() {
            pod["spec"].as_object_mut().map(|spec| spec.remove(name));
        }
    }
    let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for (name, ours) in MAPPINGS {
        let Some(mapping) = metadata.get_mut(name).and_then(Value::as_object_mut) else { continue };
        mapping.retain(|key, _| !ours.contains(&&**key));
        if mapping.is_empty() {
            metadata.remove(name);
        }
    }
    if metadata.is_empty()
        && let Some(pod) = pod.as_object_mut()
    {
        pod.remove("metadata");
    }
}

#[cfg(test)]
#[path = "insert_tests.rs"]
mod tests;
