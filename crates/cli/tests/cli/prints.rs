//! What goes to stdout, what to stderr, and when there is colour.

use crate::operator::{Answers, Controller, healthy};
use crate::{code, conduit, run, stderr, stdout};

#[test]
fn stat_prints_a_table_without_colour_to_a_pipe() {
    let controller = Controller::start(healthy());
    let output = run(controller.dir(), "stat");
    let expected = "\
NAMESPACE   NAME         MESHED   SUCCESS    RPS     P50     P95      P99   SECURED
default     deploy/web      1/1    99.00%   10.0   758µs   2.5ms   12.3ms      100%
";
    assert_eq!((code(&output), stdout(&output).as_str(), stderr(&output).as_str()), (0, expected, ""));
    let coloured = stdout(&run(controller.dir(), "stat --color always"));
    assert!(coloured.contains("\x1b[32m99.00%\x1b[0m"), "{coloured}");
}

#[test]
fn json_is_one_document_on_stdout() {
    let controller = Controller::start(healthy());
    for (words, pointer, value) in [
        ("stat deploy/web -o json", "/rows/0/rps", serde_json::json!(10.0)),
        ("edges -o json", "/edges/0/destination/name", "web".into()),
        ("version -o json", "/controller", env!("CARGO_PKG_VERSION").into()),
        ("check -o json", "/ok", true.into()),
        ("diagnostics proxies -o json", "/proxies", serde_json::json!([])),
        ("diagnostics metrics web-1 -o json", "/metrics", "# EOF\n".into()),
        ("top -o json", "/rows/0/name", "web".into()),
        ("top web --for 5s -o json", "/paths/0/count", 1.into()),
    ] {
        let output = run(controller.dir(), words);
        assert_eq!(code(&output), 0, "{words}: {}", stderr(&output));
        let document: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(document.pointer(pointer), Some(&value), "{words}");
    }
}

#[test]
fn tap_prints_events_and_tells_on_stderr_what_was_dropped() {
    let controller = Controller::start(healthy());
    let output = run(controller.dir(), "tap web");
    let common = "id=0:1 proxy=in src=10.77.0.3:8080 dst=10.77.0.4:8080 tls=no from=default/deploy/front to=default/deploy/web";
    let expected = format!(
        "req {common} :method=GET :authority=web:8080 :path=/a\nend {common} duration=1.5ms response-length=5B\n"
    );
    assert_eq!((code(&output), stdout(&output)), (0, expected));
    let said = stderr(&output);
    assert!(said.starts_with("12 events were not shown, ") && said.lines().count() == 1, "{said}");
    let json = stdout(&run(controller.dir(), "tap web -o json"));
    let events: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["path"], &events[1]["duration_us"]), (&"/a".into(), &1500.into()));
}

#[test]
fn tap_ends_after_the_time_that_was_given() {
    let controller = Controller::start(Answers { endless_tap: true, ..healthy() });
    let output = run(controller.dir(), "tap web --for 50ms");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).lines().count() > 1);
}

#[test]
fn top_prints_once_where_there_is_no_terminal_and_says_so() {
    let controller = Controller::start(healthy());
    let output = run(controller.dir(), "top web");
    let expected = "\
SOURCE         DESTINATION   COUNT    BEST   WORST    LAST   SUCCESS   METHOD   PATH
deploy/front   deploy/web        1   1.5ms   1.5ms   1.5ms   100.00%   GET      /a
";
    assert_eq!((code(&output), stdout(&output).as_str()), (0, expected));
    assert!(stderr(&output).starts_with("stdout is not a terminal"), "{}", stderr(&output));
}

#[test]
fn version_prints_what_it_knows_even_without_a_controller() {
    let dir = tempfile::TempDir::new().unwrap();
    let output = run(dir.path(), "version");
    assert_eq!(code(&output), 3);
    let client = format!("client      {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&output), client);
    let output = run(dir.path(), "version --client");
    assert_eq!((code(&output), stdout(&output), stderr(&output)), (0, client, String::new()));
}

#[test]
fn help_lists_the_exit_codes_and_every_shell_has_a_completion() {
    let help = stdout(&conduit("--help").output().unwrap());
    assert!(help.contains("  3  the mesh cannot be reached"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let output = conduit(&format!("completion {shell}")).output().unwrap();
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("diagnostics"), "{shell}");
    }
}
