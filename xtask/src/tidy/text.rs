//! The rules that one file's text, or its name, shows. Pure: text in, findings out.
//! What is banned stands here as text, so this folder is excepted from the rules about lines.

use super::Finding;

/// Code lines (neither blank nor comment) that a file may have: more is two subjects, or tests that belong in a sibling.
const CODE_LINES_MAX: usize = 600;

/// Lines that a `main.rs` may have: it parses, builds, runs and waits; the rest is a library that tests can reach.
const MAIN_LINES_MAX: usize = 100;

/// Where `unsafe` may stand; each of its blocks has a SAFETY comment (clippy sees to that).
const UNSAFE_HOMES: [&str; 3] =
    ["crates/redirect/", "crates/process/src/memory.rs", "crates/testbed/src/namespaces.rs"];

/// File and folder names that say nothing and so collect everything.
const EMPTY_NAMES: [&str; 7] = ["core", "common", "util", "utils", "helper", "helpers", "manager"];

/// A text that may not stand in code.
struct Ban {
    rule: &'static str,
    text: &'static str,
    advice: &'static str,
    tests_only: bool,
}

const fn ban(rule: &'static str, text: &'static str, advice: &'static str) -> Ban {
    Ban { rule, text, advice, tests_only: false }
}

const BANS: [Ban; 9] = [
    ban("leftover", "FIXME", "finish it, or open an issue and delete the mark"),
    ban("leftover", "TODO", "finish it, or open an issue and delete the mark"),
    ban("leftover", "XXX", "finish it, or open an issue and delete the mark"),
    ban("ignored-test", "#[ignore", "a test runs or is deleted"),
    ban("should-panic", "#[should_panic", "assert the error instead: a panic elsewhere would pass too"),
    ban(
        "unbounded",
        "unbounded_channel",
        "every queue has a bound: use a bounded channel and a named maximum",
    ),
    ban("allow", "#[allow(", "use #[expect(lint, reason = \"…\")], which complains once it is not needed"),
    ban("allow", "#![allow(", "use #![expect(lint, reason = \"…\")], which complains once it is not needed"),
    Ban {
        rule: "sleep",
        text: "sleep(",
        advice: "wait for a condition with a deadline, or pause tokio's clock",
        tests_only: true,
    },
];

/// The findings in one Rust file.
pub(crate) fn check(file: &str, text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = check_whole(file, &lines);
    if file.starts_with("xtask/src/tidy/") {
        return findings;
    }
    for (index, line) in lines.iter().enumerate() {
        let mut found = |rule, advice: &str| {
            if !excepted(&lines, index, rule) {
                findings.push(Finding::new(file, index + 1, rule, advice));
            }
        };
        for ban in &BANS {
            let concerned = !ban.tests_only || (is_test(file) && !text.contains("start_paused"));
            if concerned && holds_word(line, ban.text) {
                found(ban.rule, ban.advice);
            }
        }
        if is_comment(line) {
            continue;
        }
        if holds_word(line, "env::var") && !may_read_environment(file) {
            found("environment", "only config.rs reads the environment; take the value as an argument");
        }
        if is_bound(line) && !commented(&lines, index) {
            found("bound", "say in a doc comment why the bound is what it is");
        }
        if is_lock(line) && !commented(&lines, index) {
            found("lock", "say on this line or above it what the lock guards and how long it is held");
        }
        if is_unsafe(line) && !UNSAFE_HOMES.iter().any(|home| file.starts_with(home)) {
            found(
                "unsafe",
                "unsafe code has few homes: the redirect crate, the allocator's settings, namespaces; move it there",
            );
        }
        if line.trim_start() == "mod tests {" {
            found("test-file", "unit tests stand in a sibling file: #[path = \"x_tests.rs\"] mod tests;");
        }
        if let Some(path) = test_path(line)
            && path != format!("{}_tests.rs", own_name(file))
        {
            found(
                "test-file",
                &format!("the sibling with this file's tests is called {}_tests.rs", own_name(file)),
            );
        }
    }
    findings
}

fn check_whole(file: &str, lines: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.ends_with("_tests.rs")
        && !lines.iter().find(|line| !line.trim().is_empty()).is_some_and(|line| line.starts_with("//!"))
    {
        findings.push(Finding::new(
            file,
            1,
            "header",
            "open the file with //!: what it is for, what it may depend on, what is absent",
        ));
    }
    let code = lines.iter().filter(|line| !line.trim().is_empty() && !is_comment(line)).count();
    if code > CODE_LINES_MAX {
        let advice = format!("{code} lines of code, more than {CODE_LINES_MAX}: split it by subject");
        findings.push(Finding::new(file, CODE_LINES_MAX, "length", advice));
    }
    if file.ends_with("/main.rs") && !is_test(file) && lines.len() > MAIN_LINES_MAX {
        let advice = format!(
            "{} lines, more than {MAIN_LINES_MAX}: main parses, builds, runs and waits; move the rest",
            lines.len()
        );
        findings.push(Finding::new(file, MAIN_LINES_MAX, "main", advice));
    }
    findings
}

/// The finding in a file's name, if any.
pub(crate) fn check_name(file: &str) -> Option<Finding> {
    let empty = file.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let name = empty.clone().find(|part| EMPTY_NAMES.contains(&part.trim_end_matches("_tests")))?;
    Some(Finding::new(
        file,
        1,
        "name",
        format!("`{name}` says nothing of what is in there: name the subject"),
    ))
}

/// The stages in the table of ARCHITECTURE.md whose heading names `crates/proxy/src/WAY/`, in order, against the `mod` lines.
pub(crate) fn check_stages(text: &str, way: &str, file: &str, module: &str) -> Vec<Finding> {
    let in_table = stages_in_table(text, &format!("`crates/proxy/src/{way}/`"));
    let in_code: Vec<&str> = module.lines().filter_map(module_of_line).collect();
    if in_table == in_code {
        return Vec::new();
    }
    let advice = format!(
        "the `mod` lines are [{}] but ARCHITECTURE.md's table of {way} has [{}]: make them equal, in the order bytes meet them",
        in_code.join(", "),
        in_table.join(", ")
    );
    vec![Finding::new(file, 1, "stages", advice)]
}

/// The names in backquotes that begin the rows below the heading, up to the table's end.
fn stages_in_table<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let rows = text.lines().skip_while(|line| !(line.starts_with('|') && line.contains(heading))).skip(1);
    let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

fn module_of_line(line: &str) -> Option<&str> {
    let name = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';')?;
    (name != "tests").then_some(name)
}

/// The findings in the sorted names of docs/decisions.
pub(crate) fn check_decisions(names: &[String]) -> Vec<Finding> {
    let number = |name: &str| name.split_once('-').map(|(number, _)| number.to_owned()).unwrap_or_default();
    let mut findings = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let file = format!("docs/decisions/{name}");
        let own = number(name);
        if own.len() != 4 || !own.bytes().all(|byte| byte.is_ascii_digit()) || !name.ends_with(".md") {
            findings.push(Finding::new(&file, 1, "decision", "a decision is called NNNN-what-was-chosen.md"));
        } else if index > 0 && number(&names[index - 1]) == own {
            findings.push(Finding::new(&file, 1, "decision", "this number is taken: use the next free one"));
        }
    }
    findings
}

/// Whether the text stands in the line with no letter before it (so that a word inside a word does not count).
fn holds_word(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn is_test(file: &str) -> bool {
    file.ends_with("_tests.rs") || file.contains("/tests/")
}

/// Configuration, tests and their tools, and the terminal's own conventions (NO_COLOR, TERM).
fn may_read_environment(file: &str) -> bool {
    let homes = ["xtask/", "crates/testbed/", "crates/bench/", "fuzz/", "crates/cli/src/output.rs"];
    file.ends_with("/config.rs")
        || file.ends_with("/build.rs")
        || is_test(file)
        || homes.iter().any(|home| file.starts_with(home))
}

fn is_bound(line: &str) -> bool {
    let declared = line.trim_start();
    let declared =
        declared.strip_prefix("pub(crate) ").or_else(|| declared.strip_prefix("pub ")).unwrap_or(declared);
    let name = declared.strip_prefix("const ").and_then(|rest| rest.split(':').next());
    name.is_some_and(|name| name.ends_with("_MAX"))
}

/// A declaration that holds a lock: a field, a static or a type; not a function's parameter.
fn is_lock(line: &str) -> bool {
    let holds = (line.contains("Mutex<") || line.contains("RwLock<")) && !line.contains("Guard<");
    holds && !["fn ", "use ", "impl", "&Mutex<", "&RwLock<", "let "].iter().any(|other| line.contains(other))
}

fn is_unsafe(line: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"]
        .iter()
        .any(|form| holds_word(line, form))
}

/// Whether the line, or the one above it that is no attribute, has a comment.
fn commented(lines: &[&str], index: usize) -> bool {
    let above = lines[..index].iter().rev().find(|line| !line.trim_start().starts_with("#["));
    lines[index].contains("//") || above.is_some_and(|line| is_comment(line))
}

/// Whether the line, or the one above it, excepts itself from the rule with a reason.
fn excepted(lines: &[&str], index: usize, rule: &str) -> bool {
    let mark = format!("// tidy: {rule}: ");
    lines[index.saturating_sub(1)..=index].iter().any(|line| line.contains(&mark))
}

fn test_path(line: &str) -> Option<&str> {
    let path = line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]")?;
    path.ends_with("_tests.rs").then_some(path)
}

/// The name that a file's tests are called after: its own, or its folder's when it is a `mod.rs`.
fn own_name(file: &str) -> &str {
    let mut parts = file.rsplit('/');
    match parts.next().unwrap_or(file) {
        "mod.rs" => parts.next().unwrap_or(file),
        name => name.strip_suffix(".rs").unwrap_or(name),
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
