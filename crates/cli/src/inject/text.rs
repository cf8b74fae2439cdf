//! Asks for injection in the text of manifests, by insertions only: what was there stays in place to the byte, and `uninject` takes out
//! exactly what was inserted. What was inserted is known by a comment, and in braces, where no comment can be, by its place and
//! form. Every edit is read back and compared with what was meant; where the two differ, nothing is changed.

use conduit_inject::names::INJECT;
use conduit_inject::{decide, workload};
use serde_json::{Value, json};

use super::tree::{self, Mapping, Node};
use super::{Outcome, insert};

/// Ends the first line of what was inserted.
pub(super) const MARK: &str = "# added by conduit inject";

/// What an insertion makes, by how much of the way to the annotation was there.
const WAY: [&str; 3] = ["metadata", "annotations", INJECT];

/// Inserts the annotation into every workload.
pub(super) fn inject(text: &str) -> Result<Outcome, String> {
    if text.contains(MARK) {
        return Err(format!("it has been injected already: it has lines with `{MARK}`"));
    }
    let end_of_line = end_of_line(text);
    let (mut edits, mut remarks) = (Vec::new(), Vec::new());
    for object in objects(text)? {
        let Some(pod) = pod(object.node) else { continue };
        let remark = match look(pod) {
            Found::Absent => {
                edits.push(
                    insertion(text, pod, end_of_line).map_err(|why| format!("{}: {why}", object.name()))?,
                );
                "injected"
            }
            Found::Enabled => "asks for injection already",
            Found::Disabled => "left alone: it has conduit.io/inject: disabled",
            Found::HostNetwork => "left alone: it uses its node's network",
            Found::HasProxy => "left alone: it has a proxy",
        };
        remarks.push(format!("{} {remark}", object.name()));
    }
    if remarks.is_empty() {
        remarks.push("there is no workload in it".to_owned());
    }
    let changed = apply(text, edits);
    compare(text, &changed, true)?;
    Ok(Outcome { text: changed, remarks })
}

/// How the lines of this text end.
pub(super) fn end_of_line(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// Takes the annotation, or all that was written in by hand (`--manual`), out of every workload.
pub(super) fn uninject(text: &str) -> Result<Outcome, String> {
    let (mut edits, mut remarks) = (Vec::new(), Vec::new());
    for object in objects(text)? {
        let Some(pod) = pod(object.node) else { continue };
        let mut taken = insert::removals(text, pod);
        if taken.is_empty() {
            taken.extend(removal(text, pod).map_err(|why| format!("{}: {why}", object.name()))?);
        }
        let remark = if taken.is_empty() { "had no injection" } else { "uninjected" };
        edits.extend(taken);
        remarks.push(format!("{} {remark}", object.name()));
    }
    if remarks.is_empty() {
        remarks.push("there is no workload in it".to_owned());
    }
    let changed = apply(text, edits);
    compare(&changed, text, false)?;
    Ok(Outcome { text: changed, remarks })
}

/// Replace `from..to` by this.
pub(super) struct Edit {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) by: String,
}

pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    let mut changed = text.to_owned();
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.from));
    for edit in edits {
        changed.replace_range(edit.from..edit.to, &edit.by);
    }
    changed
}

pub(super) struct Object<'a> {
    pub(super) node: &'a Node,
}

impl Object<'_> {
    pub(super) fn name(&self) -> String {
        let kind = self.node.text("kind").unwrap_or("object").to_lowercase();
        let name = self.node.get("metadata").and_then(|metadata| metadata.text("name")).unwrap_or("?");
        format!("{kind}/{name}")
    }
}

/// The objects of the stream, those in lists too. The tree is leaked into the closure of one call: it lives as long as the verb.
pub(super) fn objects(text: &str) -> Result<Vec<Object<'static>>, String> {
    let documents: &'static [Node] = tree::read(text)?.leak();
    let mut objects = Vec::new();
    for node in documents {
        let kind = node.text("kind").unwrap_or_default();
        match node.get("items") {
            Some(Node::Sequence(list)) if kind.ends_with("List") => {
                objects.extend(list.items.iter().map(|node| Object { node }));
            }
            _ => objects.push(Object { node }),
        }
    }
    Ok(objects)
}

/// The pod in a workload.
pub(super) fn pod(object: &Node) -> Option<&Node> {
    let path = workload::path(object.text("kind")?)?;
    path.iter().try_fold(object, |node, name| node.get(name))
}

/// What a pod says already.
enum Found {
    Absent,
    Enabled,
    Disabled,
    HostNetwork,
    HasProxy,
}

fn look(pod: &Node) -> Found {
    let annotation =
        pod.get("metadata").and_then(|node| node.get("annotations")).and_then(|node| node.text(INJECT));
    let spec = pod.get("spec");
    if spec.is_some_and(has_proxy) {
        return Found::HasProxy;
    }
    if spec.and_then(|spec| spec.text("hostNetwork")) == Some("true") {
        return Found::HostNetwork;
    }
    match annotation {
        Some("disabled" | "false") => Found::Disabled,
        Some(_) => Found::Enabled,
        None => Found::Absent,
    }
}

fn has_proxy(spec: &Node) -> bool {
    let names = |list: &str| match spec.get(list) {
        Some(Node::Sequence(list)) => {
            list.items.iter().map(|item| json!({"name": item.text("name")})).collect()
        }
        _ => Vec::new(),
    };
    let lists = json!({"containers": names("containers"), "initContainers": names("initContainers")});
    decide::has_proxy(&lists)
}

/// Goes as far towards the annotations as there is something; gives the mapping and how far it got.
fn descend(pod: &Node) -> Result<(&Mapping, usize), String> {
    let mut node = pod;
    for (depth, name) in WAY.iter().enumerate() {
        let mapping = match node {
            Node::Mapping(mapping) => mapping,
            Node::Scalar { is_null: true, .. } => {
                return Err(format!(
                    "`{}:` has no value: write `{{}}` after it",
                    WAY[depth.saturating_sub(1)]
                ));
            }
            Node::Alias { .. } => return Err("its metadata is written elsewhere (a YAML alias)".to_owned()),
            Node::Scalar { .. } | Node::Sequence(_) => return Err("its metadata is no mapping".to_owned()),
        };
        if mapping.is_anchored {
            return Err(
                "its metadata has a YAML anchor or tag: an edit could change other places too".to_owned()
            );
        }
        match mapping.get(name) {
            Some(next) => node = next,
            None => return Ok((mapping, depth)),
        }
    }
    Err("it has the annotation".to_owned())
}

fn insertion(text: &str, pod: &Node, end_of_line: &str) -> Result<Edit, String> {
    let (mapping, depth) = descend(pod)?;
    if mapping.is_flow {
        let at = mapping.start + 1;
        let comma = if mapping.entries.is_empty() { "" } else { ", " };
        return Ok(Edit { from: at, to: at, by: format!("{}{comma}", flow(depth)) });
    }
    let at = mapping.entries.first().map(|entry| entry.at).ok_or("an empty mapping without braces")?;
    let column = column(text, at)?;
    Ok(Edit { from: at, to: at, by: block(depth, column, end_of_line) })
}

/// The column of the first key of a mapping; before it there may only be blanks and the dashes of lists.
pub(super) fn column(text: &str, at: usize) -> Result<usize, String> {
    let before = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
    match before.bytes().all(|byte| byte == b' ' || byte == b'-') {
        true => Ok(before.len()),
        false => Err("its first key stands behind something on the same line".to_owned()),
    }
}

/// What is inserted before the first key of a mapping in lines.
fn block(depth: usize, column: usize, end_of_line: &str) -> String {
    let mut inserted = String::new();
    for (step, name) in WAY[depth..].iter().enumerate() {
        if step > 0 {
            inserted.push_str(&" ".repeat(column + 2 * step));
        }
        inserted.push_str(name);
        inserted.push(':');
        if *name == INJECT {
            inserted.push_str(" enabled");
        }
        if step == 0 {
            inserted.push_str(&format!(" {MARK}"));
        }
        inserted.push_str(end_of_line);
    }
    inserted + &" ".repeat(column)
}

/// What is inserted after the brace. The blanks before the value tell how much was inserted: an insertion further inside, with what
/// stood around it before, never looks like one further outside.
fn flow(depth: usize) -> &'static str {
    match depth {
        0 => r#""metadata": {"annotations": {"conduit.io/inject":   "enabled"}}"#,
        1 => r#""annotations": {"conduit.io/inject":  "enabled"}"#,
        _ => r#""conduit.io/inject": "enabled""#,
    }
}

/// What takes the insertion out; where the marks were lost (the cluster keeps no comments), what takes the annotation out.
fn removal(text: &str, pod: &Node) -> Result<Option<Edit>, String> {
    let mut node = pod;
    for (depth, name) in WAY.iter().enumerate() {
        let Some(mapping) = node.mapping() else { return Ok(None) };
        if let Some(edit) = inserted(text, mapping, depth) {
            return Ok(Some(edit));
        }
        let Some(next) = mapping.get(name) else { return Ok(None) };
        if *name == INJECT {
            return unmarked(text, mapping).map(Some);
        }
        node = next;
    }
    Ok(None)
}

/// The edit that takes out what [`insertion`] put into this mapping.
fn inserted(text: &str, mapping: &Mapping, depth: usize) -> Option<Edit> {
    if mapping.is_flow {
        let from = mapping.start + 1;
        let rest = text[from..].strip_prefix(flow(depth))?;
        let rest = rest.strip_prefix(", ").unwrap_or(rest);
        return Some(Edit { from, to: text.len() - rest.len(), by: String::new() });
    }
    let from = mapping.entries.first()?.at;
    let column = column(text, from).ok()?;
    ["\n", "\r\n"].iter().find_map(|end_of_line| {
        let rest = text[from..].strip_prefix(&block(depth, column, end_of_line))?;
        Some(Edit { from, to: text.len() - rest.len(), by: String::new() })
    })
}

/// The edit that takes out an annotation that stands on a line of its own.
fn unmarked(text: &str, annotations: &Mapping) -> Result<Edit, String> {
    let by_hand = || {
        "the annotation conduit.io/inject does not stand on a line of its own: take it out by hand".to_owned()
    };
    let entry = annotations.entries.iter().find(|entry| entry.key == INJECT).ok_or_else(by_hand)?;
    if annotations.is_flow {
        return Err(by_hand());
    }
    let line_end = text[entry.end..].find('\n').map_or(text.len(), |end| entry.end + end + 1);
    let line_start = text[..entry.at].rfind('\n').map_or(0, |end| end + 1);
    if annotations.entries.len() > 1 {
        column(text, entry.at).ok().filter(|column| line_start + column == entry.at).ok_or_else(by_hand)?;
        return Ok(Edit { from: line_start, to: line_end, by: String::new() });
    }
    // Alone: the mapping stays, empty, so that whatever stands around it keeps its place.
    let colon = text[..line_start].trim_end().len();
    if !text[..colon].ends_with(':') {
        return Err(by_hand());
    }
    let end_of_line = if text[..line_end].ends_with("\r\n") { "\r\n" } else { "\n" };
    Ok(Edit { from: colon, to: line_end, by: format!(" {{}}{end_of_line}") })
}

/// Whether the text with injection means what the text without it means, plus the annotation where it was asked for.
fn compare(without: &str, with: &str, adds: bool) -> Result<(), String> {
    let parse = |text: &str| {
        serde_saphyr::from_multiple::<Value>(text).map_err(|error| format!("it cannot be read: {error}"))
    };
    let (mut without, mut with) = (parse(without)?, parse(with)?);
    if adds {
        without.iter_mut().for_each(|document| each_pod(document, ask));
    }
    for documents in [&mut without, &mut with] {
        documents.iter_mut().for_each(|document| each_pod(document, if adds { keep } else { forget }));
    }
    match without == with {
        true => Ok(()),
        false => Err("it cannot be edited safely: the change would have meant something else".to_owned()),
    }
}

fn each_pod(document: &mut Value, change: fn(&mut Value)) {
    if let Some(items) = document.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().filter_map(workload::pod_mut).for_each(change);
    } else if let Some(pod) = workload::pod_mut(document) {
        change(pod);
    }
}

/// Asks for injection where [`look`] would.
fn ask(pod: &mut Value) {
    if pod["spec"]["hostNetwork"] == true || decide::has_proxy(&pod["spec"]) {
        return;
    }
    if pod["metadata"]["annotations"].get(INJECT).is_none() {
        pod["metadata"]["annotations"][INJECT] = json!("enabled");
    }
}

const fn keep(_pod: &mut Value) {}

/// Takes the annotation away, and all that is ours, and what is empty without it.
fn forget(pod: &mut Value) {
    insert::forget(pod);
    let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(INJECT);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    if metadata.is_empty()
        && let Some(pod) = pod.as_object_mut()
    {
        pod.remove("metadata");
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
