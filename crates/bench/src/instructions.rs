//! Instructions of the real pair of proxies per request, counted by callgrind: steady where times are not. Each pod's proxy runs under
//! valgrind for a life of the same length with few requests and one with many, and the difference counts, so that start, end and what a
//! proxy does by itself do not. Deliberately absent: what the kernel does; and valgrind knows no AVX-512, so that less wide code runs.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use conduit_testbed::client::Client;
use conduit_testbed::spec::{BIN_DIR_ENV, executable};
use serde::{Deserialize, Serialize};

use crate::load::{Kind, Outcome};
use crate::local::{self, words};
use crate::processes::Machine;
use crate::report::CONDUIT;
use crate::subject::{Subject, argument};

/// The file with the result, beside the benchmark's.
pub(crate) const RESULT: &str = "instructions.json";
/// How long requests are sent in a life with few of them, and in one with many. Both live for the longer time.
const SECONDS: [u64; 2] = [2, 12];
/// How long a proxy may take to end, or to be there again: under valgrind everything takes fifty times as long.
const TURN_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const POLL: Duration = Duration::from_millis(50);
/// The loads: kind, and requests at once on the one connection.
const CASES: [(Kind, usize); 4] = [(Kind::Http, 1), (Kind::Grpc, 1), (Kind::Grpc, 16), (Kind::Echo, 1)];

/// Where to put what is found.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Folder to write instructions.json to, such as docs/benchmarks; and onto the page there
    #[arg(long)]
    write: Option<PathBuf>,
    /// Is the part that runs with a folder of programs in which the proxy is one under valgrind
    #[arg(long, hide = true)]
    inner: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Instructions {
    /// Where.
    pub(crate) machine: Machine,
    /// Conduit's version.
    pub(crate) version: String,
    /// Each load.
    pub(crate) loads: Vec<Counted>,
}

/// Instructions of one load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// What was sent.
    pub(crate) name: String,
    /// Requests that the difference is of.
    pub(crate) requests: u64,
    /// Of the client's proxy per request.
    pub(crate) client: u64,
    /// Of the server's.
    pub(crate) server: u64,
}

/// Counts and prints, and writes where that is asked for.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    if plan.inner {
        let found = local::in_world(|_| {}, count)?;
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("conduit-callgrind-").tempdir()?;
    programs(dir.path())?;
    let output = Command::new(std::env::current_exe()?)
        .args(["instructions", "--inner"])
        .env(BIN_DIR_ENV, dir.path())
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "counting failed");
    let found: Instructions = serde_json::from_slice(&output.stdout)?;
    println!("{}", found.markdown());
    if let Some(folder) = &plan.write {
        let file = folder.join(RESULT);
        fs::write(&file, output.stdout).with_context(|| format!("cannot write {}", file.display()))?;
        crate::run::render(folder)?;
    }
    Ok(())
}

/// Fills a folder with Conduit's programs, with the proxy as one that runs under valgrind. Any user may read it: proxies have one of their
/// own.
fn programs(dir: &Path) -> Result<()> {
    let open_to_all = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir, open_to_all.clone())?;
    for name in ["conduit", "conduit-controller"] {
        symlink(fs::canonicalize(executable(name))?, dir.join(name))?;
    }
    let (real, script) = (dir.join("proxy"), dir.join("conduit-proxy"));
    fs::copy(executable("conduit-proxy"), &real)?;
    fs::set_permissions(&real, open_to_all.clone())?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let valgrind =
        std::env::split_paths(&path).map(|folder| folder.join("valgrind")).find(|file| file.exists());
    let valgrind = valgrind.context("there is no valgrind: install it (apt-get install valgrind)")?;
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = run ] || exec {real} \"$@\"\n\
         exec {valgrind} --tool=callgrind --callgrind-out-file=/dev/null --vgdb=no {real} \"$@\"\n",
        real = real.display(),
        valgrind = valgrind.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, open_to_all)?;
    Ok(())
}

fn count(world: &Client, dir: &Path) -> Result<Instructions> {
    let executable = std::env::current_exe()?;
    let mut subject = Subject::new(CONDUIT, None);
    subject.start(world, &executable, dir)?;
    let pods = [subject.client(), subject.server()].map(|workload| format!("{workload}-1"));
    let mut found = Instructions {
        machine: Machine::this(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        loads: Vec::new(),
    };
    for (kind, calls) in CASES {
        let mut lives = Vec::new();
        for seconds in SECONDS {
            let begun = Instant::now();
            let to = subject.target(kind);
            let [seconds, calls] = [seconds.to_string(), calls.to_string()];
            let mut command =
                words(&executable, &["load", argument(kind), "--to", &to, "--connections", "1"]);
            command.extend(["--seconds", &seconds, "--calls", &calls].map(str::to_owned));
            let printed = local::measure(world, &subject.client(), command)?;
            let outcome: Outcome = serde_json::from_str(&printed)?;
            ensure!(outcome.failed == 0, "{} requests failed: {:?}", outcome.failed, outcome.last_failure);
            std::thread::sleep(Duration::from_secs(SECONDS[1]).saturating_sub(begun.elapsed()));
            let [client, server] = end_lives(world, &pods)?;
            lives.push((outcome.succeeded, client, server));
        }
        let counted =
            Counted::of(name(kind, calls), lives[0], lives[1]).context("more requests took less")?;
        eprintln!("{counted:?}");
        found.loads.push(counted);
    }
    Ok(found)
}

fn name(kind: Kind, calls: usize) -> String {
    match kind {
        Kind::Http2 | Kind::Grpc | Kind::Stream => format!("gRPC unary, 1 × {calls}"),
        Kind::Http => "HTTP/1.1, 1".to_owned(),
        _ => "TCP echo, 1".to_owned(),
    }
}

impl Counted {
    /// From a life with few requests and one with many: requests, instructions of the client's proxy, and of the server's.
    fn of(name: String, few: (u64, u64, u64), many: (u64, u64, u64)) -> Option<Self> {
        let requests = many.0.checked_sub(few.0).filter(|requests| *requests > 0)?;
        let each = |few: u64, many: u64| Some(many.checked_sub(few)? / requests);
        Some(Self { name, requests, client: each(few.1, many.1)?, server: each(few.2, many.2)? })
    }
}

/// Ends the proxies of these pods in order, waits until new ones are ready, and gives how many instructions the old ones took.
fn end_lives(world: &Client, pods: &[String; 2]) -> Result<[u64; 2]> {
    const SIGTERM: i32 = 15;
    let lives = |pod: &str| collected(&fs::read_to_string(world.dir().proxy_log(pod)).unwrap_or_default());
    let before: Vec<usize> = pods.iter().map(|pod| lives(pod).len()).collect();
    pods.iter().try_for_each(|pod| world.signal(pod, SIGTERM, true))?;
    let mut counts = [0; 2];
    for ((pod, before), count) in pods.iter().zip(before).zip(&mut counts) {
        let ended = || Ok(lives(pod).get(before).copied());
        *count = wait_for(ended).with_context(|| format!("the proxy of {pod} does not end"))?;
        let ready = || Ok(world.ps()?.pod(pod).and_then(|pod| pod.proxy.as_ref()?.ready.then_some(())));
        wait_for(ready).with_context(|| format!("the proxy of {pod} is not there again"))?;
    }
    Ok(counts)
}

fn wait_for<T>(mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < TURN_MAX, "not within {TURN_MAX:?}");
        std::thread::sleep(POLL);
    }
}

/// The counts in callgrind's last words of each life, such as `==12== Collected : 123456`.
fn collected(log: &str) -> Vec<u64> {
    let lines = log.lines().filter(|line| line.starts_with("==") && line.contains("Collected"));
    lines.filter_map(|line| line.rsplit_once(':')?.1.trim().parse().ok()).collect()
}

impl Instructions {
    /// As a part of the benchmark's page.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "\n## Instructions per request\n\nOf Conduit {}'s release build, counted by callgrind on {} (`cargo xtask instructions --pair`): \
             one connection, so many calls at once; the kernel's own are not counted, and valgrind knows no AVX-512.\n\n\
             | load | client's proxy | server's proxy | both | requests |\n| --- | ---: | ---: | ---: | ---: |\n",
            self.version, self.machine.cpu
        );
        for Counted { name, requests, client, server } in &self.loads {
            let _ = writeln!(text, "| {name} | {client} | {server} | {} | {requests} |", client + server);
        }
        text
    }
}

#[cfg(test)]
#[path = "instructions_tests.rs"]
mod tests;
