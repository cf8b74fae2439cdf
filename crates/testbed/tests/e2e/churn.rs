//! Endpoints come and go under load, and no request fails that another endpoint could have served.

use std::path::Path;
use std::time::{Duration, Instant};

use conduit_testbed::world::World;
use serde_json::Value;

use crate::support::{idle, nginx, script};

#[test]
fn endpoints_replaced_again_and_again_fail_no_request() {
    let world = World::start();
    world.run(nginx(&world, "web", "http").replicas(3));
    world.run(idle("client"));
    let load = world.begin("client", &["python3", &script("load.py"), "http://web:8080/", "30", "4"]);
    for replicas in [5, 2, 4, 1, 3, 5, 2, 4] {
        world.scale("web", replicas);
    }
    let result = load.wait();
    let mut figures = result.text().splitn(3, ' ');
    let (count, failed) = (figures.next().unwrap(), figures.next().unwrap());
    assert!(count.parse::<u32>().unwrap() > 200, "{count} requests only");
    assert_eq!(failed, "0", "of {count}: {}", result.stdout);
}

/// Makes the endpoints of `pods` ready and all others not, in every document of a manifest.
fn only(text: &str, pods: &[&str]) -> String {
    let document = |part: &str| {
        let mut document: Value = serde_saphyr::from_str(part).unwrap();
        for endpoint in document["endpoints"].as_array_mut().into_iter().flatten() {
            let ready = endpoint["targetRef"]["name"].as_str().is_some_and(|name| pods.contains(&name));
            endpoint["conditions"]["ready"] = ready.into();
        }
        document.to_string()
    };
    text.split("---\n")
        .filter(|part| !part.trim().is_empty())
        .map(document)
        .collect::<Vec<_>>()
        .join("\n---\n")
}

fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

#[test]
fn endpoints_replaced_every_100_ms_for_a_minute_fail_no_request() {
    const PAUSE: Duration = Duration::from_millis(100);
    let world = World::start();
    world.run(nginx(&world, "web", "http").replicas(4));
    world.run(idle("client"));
    let path = world.dir().manifests().join("service-web.yaml");
    let all = std::fs::read_to_string(&path).unwrap();
    let load = world.begin("client", &["python3", &script("load.py"), "http://web:8080/", "60", "4"]);
    let sets = [["web-1", "web-2"], ["web-3", "web-4"], ["web-2", "web-3"], ["web-4", "web-1"]];
    let began = Instant::now();
    let mut changes = 0u32;
    while began.elapsed() < Duration::from_secs(60) {
        replace(&path, &only(&all, &sets[changes as usize % sets.len()]));
        changes += 1;
        // The pace of the churn is what this test is about.
        std::thread::park_timeout(PAUSE.saturating_mul(changes).saturating_sub(began.elapsed()));
    }
    let result = load.wait();
    let mut figures = result.text().splitn(3, ' ');
    let (count, failed) = (figures.next().unwrap(), figures.next().unwrap());
    assert!(changes > 500, "{changes} changes only");
    assert!(count.parse::<u32>().unwrap() > 1000, "{count} requests only");
    assert_eq!(failed, "0", "of {count}: {}", result.stdout);
}
