//! Tests of the text rules, each on the smallest text that breaks it and on one that does not.

use super::{check, check_decisions, check_name, check_stages};

const FILE: &str = "crates/proxy/src/http/head.rs";

/// The rules that `body` breaks in `file`, below a header that is in order.
fn rules(file: &str, body: &str) -> Vec<&'static str> {
    let text = format!("//! What for.\n\n{body}");
    check(file, &text).into_iter().map(|finding| finding.rule).collect()
}

#[test]
fn a_file_without_a_header_is_found() {
    assert_eq!(check(FILE, "use std::fmt;\n")[0].rule, "header");
    assert!(check(FILE, "//! What for.\n").is_empty());
    assert!(check("crates/proxy/src/http/head_tests.rs", "use std::fmt;\n").is_empty());
}

#[test]
fn a_long_file_is_found_by_its_code_lines_alone() {
    let comments = "// a reason\n\n".repeat(2000);
    assert_eq!(rules(FILE, &format!("{comments}{}", "code();\n".repeat(600))), [""; 0]);
    assert_eq!(rules(FILE, &"code();\n".repeat(601)), ["length"]);
}

#[test]
fn a_long_main_is_found_outside_of_tests() {
    let body = "code();\n".repeat(120);
    assert_eq!(rules("crates/cli/src/main.rs", &body), ["main"]);
    assert_eq!(rules("crates/testbed/tests/e2e/main.rs", &body), [""; 0]);
}

#[test]
fn leftovers_and_banned_calls_are_found_at_their_line() {
    let marks = ["FIXME", "TODO", "XXX"];
    for mark in marks {
        assert_eq!(rules(FILE, &format!("// {mark} later")), ["leftover"]);
    }
    let call = "mpsc::unbounded_channel()";
    let found = &check(FILE, &format!("//! What for.\n\nlet x = {call};\n"))[0];
    assert_eq!((found.line, found.rule), (3, "unbounded"));
    assert_eq!(rules(FILE, "#[allow(dead_code)]"), ["allow"]);
    assert_eq!(rules(FILE, "#[ignore]"), ["ignored-test"]);
}

#[test]
fn sleeping_is_found_in_tests_with_a_real_clock_only() {
    let nap = "tokio::time::sleep(d).await;";
    assert_eq!(rules(FILE, nap), [""; 0]);
    assert_eq!(rules("crates/proxy/src/http/head_tests.rs", nap), ["sleep"]);
    let paused = format!("#[tokio::test(start_paused = true)]\n{nap}");
    assert_eq!(rules("crates/proxy/src/http/head_tests.rs", &paused), [""; 0]);
}

#[test]
fn the_environment_is_read_in_config_alone() {
    let read = "let x = std::env::var(\"A\");";
    assert_eq!(rules(FILE, read), ["environment"]);
    assert_eq!(rules("crates/proxy/src/config.rs", read), [""; 0]);
    assert_eq!(rules("crates/testbed/src/world.rs", read), [""; 0]);
}

#[test]
fn a_bound_without_a_reason_is_found() {
    assert_eq!(rules(FILE, "use x;\npub const STREAMS_MAX: usize = 3;"), ["bound"]);
    assert_eq!(rules(FILE, "use x;\n/// Three are enough.\npub const STREAMS_MAX: usize = 3;"), [""; 0]);
    assert_eq!(rules(FILE, "use x;\nconst NAMES: [u8; MAX] = x;"), [""; 0]);
}

#[test]
fn a_lock_that_does_not_say_what_it_guards_is_found() {
    assert_eq!(rules(FILE, "struct A {\n    gates: Arc<Mutex<Vec<u8>>>,\n}"), ["lock"]);
    assert_eq!(
        rules(FILE, "struct A {\n    /// Guards the gates.\n    #[x]\n    gates: Mutex<Vec<u8>>,\n}"),
        [""; 0]
    );
    assert_eq!(rules(FILE, "struct A(RwLock<u8>); // guards the byte"), [""; 0]);
    assert_eq!(rules(FILE, "fn a(m: &Mutex<u8>) {}"), [""; 0]);
}

#[test]
fn unsafe_code_is_found_outside_its_homes() {
    assert_eq!(rules(FILE, "let x = unsafe { y() };"), ["unsafe"]);
    assert_eq!(rules(FILE, "// without unsafe { }"), [""; 0]);
    assert_eq!(rules("crates/redirect/src/sockopt.rs", "let x = unsafe { y() };"), [""; 0]);
}

#[test]
fn tests_in_the_file_itself_or_in_a_misnamed_sibling_are_found() {
    assert_eq!(rules(FILE, "mod tests {"), ["test-file"]);
    assert_eq!(rules(FILE, "#[path = \"tail_tests.rs\"]\nmod tests;"), ["test-file"]);
    assert_eq!(rules(FILE, "#[path = \"head_tests.rs\"]\nmod tests;"), [""; 0]);
    assert_eq!(rules("crates/proxy/src/tap/mod.rs", "#[path = \"tap_tests.rs\"]\nmod tests;"), [""; 0]);
}

#[test]
fn an_exception_holds_for_its_rule_and_gives_a_reason() {
    let read = "let x = std::env::var(\"A\");";
    assert_eq!(rules(FILE, &format!("// tidy: environment: the terminal's own convention\n{read}")), [""; 0]);
    assert_eq!(rules(FILE, &format!("// tidy: sleep: because\n{read}")), ["environment"]);
}

#[test]
fn names_that_say_nothing_are_found() {
    assert!(check_name("crates/proxy/src/util.rs").is_some());
    assert!(check_name("crates/core/src/lib.rs").is_some());
    assert!(check_name("crates/proxy/src/manager_tests.rs").is_some());
    assert!(check_name("crates/proxy/src/score.rs").is_none());
}

#[test]
fn stages_in_another_order_than_the_table_are_found() {
    let table = "| outbound: `crates/proxy/src/outbound/` | |\n| --- | --- |\n| `accept` | a |\n| `detect` | b `x` |\n\n| `later` |\n";
    let module = |body: &str| check_stages(table, "outbound", "mod.rs", body).len();
    assert_eq!(module("pub mod accept;\nmod detect;\n#[cfg(test)]\nmod tests;\n"), 0);
    assert_eq!(module("pub mod detect;\npub mod accept;\n"), 1);
    assert_eq!(module("pub mod accept;\n"), 1);
}

#[test]
fn a_decision_with_a_taken_number_is_found() {
    let names = |names: &[&str]| {
        check_decisions(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).len()
    };
    assert_eq!(names(&["0001-one.md", "0002-two.md"]), 0);
    assert_eq!(names(&["0001-one.md", "0001-two.md"]), 1);
    assert_eq!(names(&["notes.md"]), 1);
}
