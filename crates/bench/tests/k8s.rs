//! The measurement of the control plane's capacity at a small size, on the cluster that runs, so that it cannot rot. Part of the stage `k8s` of
//! `cargo xtask test`; without a cluster it fails and says what to do.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic at its own line")]

use conduit_testbed::cluster::Cluster;
use serde_json::Value;

#[test]
fn every_proxy_hears_of_every_change_and_is_served_again_after_the_controller_was_killed() {
    let cluster = Cluster::running().unwrap_or_else(|error| panic!("{error:#}"));
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("scale.md");
    std::fs::write(&page, "by hand\n<!-- written by `cargo xtask scale` -->\nstale\n<!-- end -->\nby hand\n")
        .unwrap();
    let mut measure = cluster.command(env!("CARGO_BIN_EXE_conduit-bench"));
    measure.args([
        "scale",
        "--services=50",
        "--endpoints=250",
        "--proxies=20",
        "--changes=4",
        "--seconds=1",
        "--traffic-seconds=2",
        "--write",
    ]);
    let output = measure.arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let figures: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("scale.json")).unwrap()).unwrap();
    let changes = figures["changes"].as_array().unwrap();
    let shared = changes.iter().find(|change| change["services"] == "followed by all").unwrap();
    assert_eq!(shared["followers"], 20.0, "{figures:#}");
    assert!(changes.iter().all(|change| change["bytes"].as_f64().unwrap() > 0.0), "{figures:#}");
    assert!(figures["storm"]["served_max_seconds"].as_f64().unwrap() < 30.0, "{figures:#}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.starts_with("by hand\n") && page.ends_with("by hand\n") && !page.contains("stale"),
        "{page}"
    );
}
