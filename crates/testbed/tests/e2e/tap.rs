//! What a tap costs: nothing when nobody taps, and lost events, never a slower request, when whoever taps is slow.

use std::process::{Child, Command, Stdio};

use conduit_testbed::spec;
use conduit_testbed::wait;
use conduit_testbed::world::World;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{SOON, idle, lines, metric, nginx};

const TAPPED: &str = "conduit_proxy_tapped_total";

/// So many requests that their events, three each, are more than all buffers on the way to a terminal hold.
const REQUESTS: &str = "12000";

fn tap(world: &World) -> Child {
    Command::new(spec::executable("conduit"))
        .env("CONDUIT_LOCAL_DIR", world.dir().path())
        .args(["tap", "deploy/web", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends so many requests as fast as they are answered; gives how many were answered with 200.
fn load(world: &World, requests: &str) -> u64 {
    let command = [
        "fortio",
        "load",
        "-quiet",
        "-c",
        "8",
        "-qps",
        "900",
        "-n",
        requests,
        "-json",
        "-",
        "http://web:8080/",
    ];
    let report: serde_json::Value = serde_json::from_str(world.exec("client", &command).text()).unwrap();
    assert_eq!(report["RetCodes"].as_object().unwrap().len(), 1, "{}", report["RetCodes"]);
    report["RetCodes"]["200"].as_u64().unwrap()
}

#[test]
fn nobody_who_taps_is_no_work_for_a_proxy() {
    let world = World::start();
    world.run(nginx(&world, "web", "http"));
    world.run(idle("client"));
    assert_eq!(load(&world, "200"), 200);
    for pod in ["web-1", "client-1"] {
        assert_eq!(metric(&world, pod, TAPPED), 0.0, "{pod}");
    }
    let mut tap = tap(&world);
    let seen = lines(tap.stdout.take().unwrap());
    wait::until(SOON, || load(&world, "8") == 8 && !seen.lock().unwrap().is_empty());
    assert!(metric(&world, "web-1", TAPPED) > 0.0);
    assert_eq!(metric(&world, "client-1", TAPPED), 0.0, "only the proxies that are tapped look");
    tap.kill().unwrap();
    let _ = tap.wait();
    // The proxy learns that the tap is gone, and from then on looks at nothing.
    wait::until(SOON, || {
        let before = metric(&world, "web-1", TAPPED);
        load(&world, "8") == 8 && metric(&world, "web-1", TAPPED) == before
    });
}

#[test]
fn a_tap_that_reads_nothing_loses_events_is_told_how_many_and_slows_no_request() {
    let world = World::start();
    world.run(nginx(&world, "web", "http"));
    world.run(idle("client"));
    let mut tap = tap(&world);
    let seen = lines(tap.stdout.take().unwrap());
    let told = lines(tap.stderr.take().unwrap());
    wait::until(SOON, || load(&world, "8") == 8 && !seen.lock().unwrap().is_empty());
    let pid = Pid::from_raw(i32::try_from(tap.id()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    assert_eq!(
        load(&world, REQUESTS),
        REQUESTS.parse::<u64>().unwrap(),
        "all are answered while the tap stands still"
    );
    kill(pid, Signal::SIGCONT).unwrap();
    let lost = || {
        let told = told.lock().unwrap();
        let words = told.iter().rev().find(|line| line.contains("events were not shown"))?.clone();
        words.split_whitespace().find_map(|word| word.parse::<u64>().ok())
    };
    let lost = wait::for_some(SOON, lost);
    assert!(lost > 100, "{lost} events lost");
    // It goes on where it is now.
    let shown = seen.lock().unwrap().len();
    wait::until(SOON, || load(&world, "8") == 8 && seen.lock().unwrap().len() > shown);
    tap.kill().unwrap();
    let _ = tap.wait();
}
