//! `conduit demo`, as a newcomer runs it unattended: the document that it prints, and that nothing of it is left.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use conduit_testbed::client::Client;
use conduit_testbed::spec::{self, Dir};
use conduit_testbed::wait;
use serde_json::Value;

use crate::support::SOON;

/// The demo's workloads have to start, on a busy machine.
const START: Duration = Duration::from_secs(120);
const NOBODY: u32 = 65534;

/// A directory that is gone with this value, with Conduit's executables where every user may run them.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("conduit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        for name in ["conduit", "conduit-proxy", "conduit-controller"] {
            std::fs::copy(spec::executable(name), path.join(name)).unwrap();
        }
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The namespaces of all processes below the demo's supervisor, and how many processes these are.
fn namespaces(supervisor: i32) -> (BTreeSet<PathBuf>, usize) {
    let own = std::fs::read_link(format!("/proc/{supervisor}/ns/pid_for_children")).unwrap();
    let link = |pid: &Path, kind: &str| std::fs::read_link(pid.join("ns").join(kind)).ok();
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let inside: Vec<_> = entries.filter(|pid| link(pid, "pid").as_ref() == Some(&own)).collect();
    let found = inside.iter().flat_map(|pid| ["pid", "net", "mnt"].map(|kind| link(pid, kind)));
    let ours = |name: &PathBuf| {
        ["pid", "net", "mnt"].iter().all(|kind| link(Path::new("/proc/self"), kind).as_ref() != Some(name))
    };
    (found.flatten().filter(ours).collect(), inside.len())
}

/// Namespaces that any process is in.
fn in_use() -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("ns"));
    let links =
        entries.flat_map(|ns| ["pid", "net", "mnt"].map(|kind| std::fs::read_link(ns.join(kind)).ok()));
    links.flatten().collect()
}

/// Rules and links of Conduit's in the namespace that the test runs in.
fn left_here() -> String {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let ours = |line: &&str| line.contains("conduit") || line.contains(": pod");
    let all = run("nft", &["list", "tables"]) + &run("ip", &["-o", "link"]);
    all.lines().filter(ours).collect()
}

/// Runs the demo for some seconds as this user; gives its document after it has left nothing behind.
fn run_as(user: u32) -> Value {
    let scratch = Scratch::new(&format!("demo-{user}"));
    std::os::unix::fs::chown(&scratch.0, Some(user), Some(user)).unwrap();
    let client = Client::new(Dir::new(scratch.0.join("world")));
    let mut demo = Command::new(scratch.0.join("conduit"));
    demo.env_remove("CONDUIT_BIN_DIR").env("CONDUIT_LOCAL_DIR", client.dir().path()).current_dir("/");
    demo.args(["demo", "--for", "10s", "-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let demo = demo.uid(user).gid(user).spawn().unwrap();
    wait::until(START, || {
        client.ps().is_ok_and(|world| {
            world.workload("load").is_some_and(|load| load.pods.iter().any(|pod| pod.ready))
        })
    });
    assert_eq!(client.ps().unwrap().root, user == 0);
    let (namespaces, processes) = namespaces(client.supervisor_pid().unwrap());
    assert!(processes > 14, "a controller, seven applications and as many proxies run: {processes}");
    assert!(namespaces.len() >= 11, "the world has its own, and so has each pod: {namespaces:?}");
    let output = demo.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("no process, namespace or rule is left"), "{said}");
    wait::until(SOON, || in_use().is_disjoint(&namespaces));
    assert_eq!(left_here(), "");
    assert!(!client.dir().supervisor_socket().exists() && !client.dir().operator_socket().exists());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rows<'a>(document: &'a Value, name: &str) -> &'a Vec<Value> {
    document[name].as_array().unwrap_or_else(|| panic!("no {name} in {document}"))
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or_else(|| panic!("no {field} in {row}"))
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no {field} in {row}"))
}

/// What the documentation promises of the document.
fn check(document: &Value) {
    let workloads = rows(document, "workloads");
    assert!(workloads.len() >= 5, "{workloads:?}");
    for row in workloads {
        let (success, p50, p95, p99) = (
            number(row, "success_rate"),
            number(row, "p50_ms"),
            number(row, "p95_ms"),
            number(row, "p99_ms"),
        );
        assert!((0.0..=1.0).contains(&success), "{row}");
        assert!(p50 <= p95 && p95 <= p99, "{row}");
    }
    let named =
        |name: &str| workloads.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let failing = number(named("voting"), "success_rate");
    assert!((0.5..0.99).contains(&failing), "voting fails a share: {failing}");
    assert!(number(named("catalog"), "success_rate") > 0.999, "{}", named("catalog"));
    let (slow, quick) = (number(named("recommend"), "p95_ms"), number(named("catalog"), "p50_ms"));
    assert!(
        slow > 35.0 && slow > quick,
        "recommend takes 40 ms and more now and then: {slow}, catalog {quick}"
    );
    assert!(number(named("web"), "rps") > 1.0, "{}", named("web"));
    let edges = rows(document, "edges");
    let protocols: BTreeSet<&str> = edges.iter().map(|edge| text(edge, "protocol")).collect();
    assert!(["http/1.1", "grpc", "tcp"].iter().all(|protocol| protocols.contains(protocol)), "{protocols:?}");
    for edge in edges {
        assert_eq!((&edge["secured"], text(edge, "tls_version")), (&true.into(), "TLSv1.3"), "{edge}");
        assert_eq!(text(edge, "key_exchange"), "X25519MLKEM768", "{edge}");
        for (end, identity) in [("source", "source_identity"), ("destination", "destination_identity")] {
            let expected = format!("spiffe://cluster.local/ns/default/sa/{}", text(edge, end));
            assert_eq!(text(edge, identity), expected, "{edge}");
        }
    }
    let proxies = rows(document, "proxies");
    let pods: BTreeSet<&str> = proxies.iter().map(|proxy| text(proxy, "pod")).collect();
    assert_eq!(pods.len(), workloads.len().max(7), "one proxy for each pod: {pods:?}");
    for proxy in proxies {
        assert!(number(proxy, "rss_bytes") > 1e6 && number(proxy, "cpu_seconds") > 0.0, "{proxy}");
    }
    assert!(proxies.iter().map(|proxy| number(proxy, "requests")).sum::<f64>() > 100.0, "{proxies:?}");
    assert_eq!(document["mesh_failures"], 0, "{document}");
}

#[test]
fn the_demo_finds_what_there_is_to_find_and_leaves_nothing() {
    check(&run_as(0));
}

#[test]
fn the_demo_without_root_is_the_same() {
    check(&run_as(NOBODY));
}
