//! What crosses between pods is encrypted, who speaks is proven, and certificates rotate without anybody noticing.

use std::time::Duration;

use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, curl, idle, nginx, raw_server};

#[test]
fn no_byte_of_a_known_body_crosses_in_the_clear() {
    let world = World::start();
    world.run(raw_server("secret", "http"));
    world.run(raw_server("opaque", "tcp"));
    world.run(raw_server("clear", "http").unmeshed());
    world.run(idle("client"));
    let marker = "correct-horse-battery-staple";
    let capture = |name: &str| {
        let file = world.files().join(format!("{name}.pcap")).display().to_string();
        let dump = world.begin("client", &["tcpdump", "-i", "eth0", "-U", "-s", "0", "-w", &file]);
        wait::until(SOON, || std::fs::metadata(&file).is_ok_and(|m| m.len() >= 24));
        let body = format!("body={marker}");
        assert_eq!(curl(&world, "client", &["-d", &body, &format!("http://{name}:8080/body")]).text(), "33");
        let size = || std::fs::metadata(&file).map_or(0, |m| m.len());
        wait::until(SOON, || size() > 1000);
        dump.signal(2);
        let _ = dump.wait();
        std::fs::read(&file).unwrap()
    };
    let contains = |bytes: &[u8]| bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    assert!(contains(&capture("clear")), "the capture sees what is in the clear");
    assert!(!contains(&capture("secret")), "an HTTP body crossed in the clear");
    assert!(!contains(&capture("opaque")), "opaque bytes crossed in the clear");
}

#[test]
fn certificates_of_seconds_rotate_under_load_with_no_failed_request() {
    let world = World::start_with(|options| options.certificate_lifetime = "6s".to_owned());
    world.run(nginx(&world, "web", "http").replicas(2));
    world.run(idle("client"));
    let script = "fails=0; end=$(( $(date +%s) + 20 )); n=0
        while [ $(date +%s) -lt $end ]; do curl -sf -m 5 -o /dev/null http://web:8080/ || fails=$((fails+1)); n=$((n+1)); done; echo $n $fails";
    let result = world.sh("client", script);
    let (count, fails) = result.text().split_once(' ').unwrap();
    assert!(count.parse::<u32>().unwrap() > 50, "{count} requests only");
    assert_eq!(fails, "0");
    let metrics = world.exec("client", &["curl", "-s", "http://127.0.0.1:4191/metrics"]);
    let rotations =
        metrics.stdout.lines().find_map(|l| l.strip_prefix("conduit_proxy_certificate_rotations_total "));
    assert!(rotations.unwrap_or("0").parse::<u32>().unwrap() >= 3, "{rotations:?}");
}

#[test]
fn a_proxy_without_a_certificate_is_not_ready_and_accepts_no_mesh_traffic() {
    let world = World::start();
    world.run(idle("client"));
    let mut spec = raw_server("late", "http").proxy_env("CONDUIT_PROXY_TOKEN", "/nonexistent");
    spec.replicas = 1;
    let _ = world.client().run(spec, Duration::from_secs(2));
    let ready =
        || world.sh("late-1", "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:4191/ready").stdout;
    wait::until(SOON, || ready() == "503");
    let refused = curl(&world, "client", &["http://late:8080/"]);
    assert!(!refused.stdout.starts_with("GET"), "{refused:?}");
}
