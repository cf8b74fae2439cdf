//! Exit codes: 0 all is well, 1 a problem was found, 2 usage, 3 the mesh cannot be reached; and what is said with each.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use crate::operator::{Answers, Controller, healthy};
use crate::{code, conduit, run, stderr, stdout};

#[test]
fn without_a_mesh_every_verb_says_how_to_start_one() {
    let dir = tempfile::TempDir::new().unwrap();
    for words in
        ["stat", "edges", "top", "tap web", "version", "diagnostics proxies", "diagnostics metrics web-1"]
    {
        let output = run(dir.path(), words);
        assert_eq!(code(&output), 3, "{words}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(said.starts_with("error: no controller at unix:"), "{words}: {said}");
        assert!(said.contains("\nhint: no mesh runs here: start one with `conduit demo`"), "{words}: {said}");
    }
    let output = run(dir.path(), "check");
    assert_eq!(code(&output), 3);
    assert!(stdout(&output).starts_with("× the controller answers"), "{}", stdout(&output));
}

#[test]
fn a_socket_that_a_mesh_left_behind_is_told_from_one_that_never_was() {
    let dir = tempfile::TempDir::new().unwrap();
    drop(UnixListener::bind(dir.path().join("operator.sock")).unwrap());
    let output = run(dir.path(), "stat");
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("the socket is left from a mesh that has ended"), "{}", stderr(&output));
}

#[test]
fn a_controller_elsewhere_that_does_not_listen_is_unreachable() {
    let output = conduit("stat --controller http://127.0.0.1:1").output().unwrap();
    assert_eq!(code(&output), 3);
    let said = stderr(&output);
    assert!(said.starts_with("error: no controller at http://127.0.0.1:1: "), "{said}");
}

#[test]
fn what_is_typed_wrong_is_a_usage_error() {
    let controller = Controller::start(healthy());
    for words in [
        "stat thing/web",
        "stat --window 3s",
        "tap",
        "tap web --source nowhere",
        "stat --to a/b/c/d",
        "nonsense",
    ] {
        let output = run(controller.dir(), words);
        assert_eq!(code(&output), 2, "{words}: {}", stderr(&output));
        assert!(stdout(&output).is_empty(), "{words}");
    }
}

#[test]
fn what_does_not_exist_is_a_problem_with_a_hint() {
    let controller = Controller::start(healthy());
    for (words, said) in [
        ("stat deploy/nobody", "error: nothing is known of deploy/nobody\nhint: `conduit stat` lists"),
        ("tap nobody", "error: cannot tap: no meshed pod matches\nhint: "),
        ("diagnostics metrics web-9", "error: pod default/web-9 does not exist or has no proxy\nhint: "),
        (
            "diagnostics config web-2",
            "error: cannot ask the proxy of default/web-2: the proxy does not answer\nhint: ",
        ),
    ] {
        let output = run(controller.dir(), words);
        assert_eq!(code(&output), 1, "{words}: {}", stderr(&output));
        assert!(stderr(&output).starts_with(said), "{words}: {}", stderr(&output));
    }
}

#[test]
fn check_exits_with_one_when_a_check_fails() {
    let controller = Controller::start(healthy());
    let output = run(controller.dir(), "check");
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    let broken = Answers { source_errors: vec!["web.yaml:3: no kind".into()], ..healthy() };
    let controller = Controller::start(broken);
    let output = run(controller.dir(), "check");
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("    web.yaml:3: no kind\n"), "{}", stdout(&output));
    let older = Controller::start(Answers { version: "0.0.1".into(), ..healthy() });
    let output = run(older.dir(), "check -o json");
    assert_eq!(code(&output), 0, "a warning is no failure");
    let document: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(document["checks"][1]["result"], "warn");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let controller = Controller::start(Answers { endless_tap: true, ..healthy() });
    let mut child = conduit("tap web")
        .env("CONDUIT_LOCAL_DIR", controller.dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("req id=0:0 "), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
}

#[test]
fn a_cluster_that_is_named_goes_before_the_local_world_and_one_that_is_only_configured_after_it() {
    let controller = Controller::start(healthy());
    let kubeconfig = controller.dir().join("kubeconfig");
    let text = "{apiVersion: v1, kind: Config, current-context: away, contexts: [{name: away, context: {cluster: away, user: me}}],
        clusters: [{name: away, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: me, user: {token: mine}}]}";
    std::fs::write(&kubeconfig, text).unwrap();
    let with = |words: &str| {
        conduit(words)
            .env("CONDUIT_LOCAL_DIR", controller.dir())
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap()
    };
    assert_eq!(code(&with("stat")), 0, "{}", stderr(&with("stat")));
    let output = with("stat --context away");
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(
        stderr(&output).starts_with("error: cannot list the controller's pods in cluster away: "),
        "{}",
        stderr(&output)
    );
    let output = with("stat --context nowhere");
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("hint: `kubectl config get-contexts`"), "{}", stderr(&output));
    let output = with("check --pre");
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    let output = with("check --pre --context away");
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stdout(&output).starts_with("× the API server answers"), "{}", stdout(&output));
    // Where no local world runs, the kubeconfig's current cluster is meant.
    let empty = tempfile::TempDir::new().unwrap();
    let mut elsewhere = conduit("stat");
    elsewhere
        .env("KUBECONFIG", &kubeconfig)
        .env("XDG_RUNTIME_DIR", empty.path())
        .env_remove("CONDUIT_LOCAL_DIR");
    let output = elsewhere.output().unwrap();
    assert!(stderr(&output).contains("in cluster away"), "{}", stderr(&output));
}
