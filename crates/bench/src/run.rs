//! The benchmark from start to end: one world, all subjects in it, each load on each subject in turn and all of that again, so
//! that whatever else the machine does meanwhile meets all subjects alike. Progress goes to stderr, the findings to files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use clap::Args;
use conduit_logic::ports::TRUST_DOMAIN;
use conduit_logic::words::Identity;
use conduit_testbed::client::Client;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::handshakes::Handshakes;
use crate::instructions::{self, Instructions};
use crate::load::{Kind, Outcome};
use crate::local::{self, words};
use crate::pods::{self, Pods};
use crate::processes::{Machine, Usage};
use crate::report::{Busy, CONDUIT, Case, DIRECT, Memory, Report, Run};
use crate::start::Starts;
use crate::subject::{Subject, argument};

/// The rates at which latency is compared, per second.
const RATES: [u32; 3] = [500, 2000, 8000];
/// The rates at which the same is done for what differs little from another load.
const FEWER_RATES: [u32; 2] = [500, 2000];
/// Connections at a fixed rate.
const CONNECTIONS: usize = 16;
/// Connections for most throughput.
const CONNECTIONS_MOST: usize = 64;
/// Connections, and gRPC calls at once on each, that a busy service has from many clients.
const MANY_CALLS: (usize, usize) = (8, 32);
/// gRPC calls at once of one client at most throughput.
const CALLS: usize = 16;
/// gRPC calls at once at a fixed rate: as many as are ever late together.
const CALLS_FIXED: usize = 64;
/// Connections with which memory is measured while all of them are in use, and the rate of requests over them.
const BUSY: ([usize; 2], u32) = ([100, 1000], 2000);
/// How often memory is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long proxies have after a load to give memory back: Conduit's looks for it every ten seconds.
const GIVE_BACK_TIME: Duration = Duration::from_secs(15);
/// How often Conduit's proxy is started to see how long that takes.
const STARTS: &str = "20";

/// Seconds of load before each run that are not measured: connections are opened, caches filled.
const WARM_UP_SECONDS: u64 = 1;

/// The file with every run.
const RESULT: &str = "benchmark.json";
/// A file with what people have to say of a result; the page begins with it.
const NOTES: &str = "notes.md";

/// What to run.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Directory to write the result and its page to. The page begins with what stands there in notes.md.
    #[arg(long, default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Seconds of each run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each run is repeated.
    #[arg(long, default_value_t = 3)]
    repeats: u32,
    /// Run only loads whose name has this in it, as in "gRPC" or "2000/s".
    #[arg(long)]
    only: Option<String>,
    /// Schedule client, server and proxies in real time at fixed rates, as root: steady high percentiles.
    #[arg(long)]
    realtime: bool,
    /// Idle connections under which memory is measured.
    #[arg(long, default_value_t = 1000)]
    idle_connections: usize,
    /// Another proxy to measure: its name and the script that starts it in a pod, as NAME=SCRIPT. May be given again.
    /// docs/benchmarks/proxies/README.md says what the script is given and has to do.
    #[arg(long = "proxy", value_parser = other)]
    others: Vec<(String, PathBuf)>,
    /// Leave Conduit out, to try the benchmark itself or a script.
    #[arg(long)]
    without_conduit: bool,
}

fn other(text: &str) -> Result<(String, PathBuf), String> {
    let (name, script) = text.split_once('=').ok_or("write NAME=SCRIPT")?;
    let script = fs::canonicalize(script).map_err(|error| format!("{script}: {error}"))?;
    Ok((name.to_owned(), script))
}

/// Runs all of it and takes the world down again, also when something fails.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    ensure!(plan.repeats > 0 && plan.seconds > 0, "--repeats and --seconds must be at least 1");
    let report = local::in_world(|_| {}, |world, dir| measure(plan, world, dir))?;
    fs::create_dir_all(&plan.out)?;
    fs::write(plan.out.join(RESULT), serde_json::to_string_pretty(&report)? + "\n")?;
    write(&report, &plan.out)
}

/// Writes the page and the plots of a result in `dir`.
pub(crate) fn render(dir: &Path) -> anyhow::Result<()> {
    let file = dir.join(RESULT);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let report = serde_json::from_str(&text).with_context(|| format!("{} is no result", file.display()))?;
    write(&report, dir)
}

fn write(report: &Report, dir: &Path) -> anyhow::Result<()> {
    let notes = fs::read_to_string(dir.join(NOTES)).unwrap_or_default();
    let mut page = report.markdown(&notes);
    if let Ok(text) = fs::read_to_string(dir.join(instructions::RESULT)) {
        page += &serde_json::from_str::<Instructions>(&text).context(instructions::RESULT)?.markdown();
    }
    if let Ok(text) = fs::read_to_string(dir.join(pods::RESULT)) {
        page += &serde_json::from_str::<Pods>(&text).context(pods::RESULT)?.markdown();
    }
    fs::write(dir.join("README.md"), page)?;
    for (file, svg) in report.plots() {
        fs::write(dir.join(file), svg)?;
    }
    eprintln!("written to {}: README.md and its plots", dir.display());
    Ok(())
}

fn measure(plan: &Plan, world: &Client, dir: &Path) -> anyhow::Result<Report> {
    let executable = std::env::current_exe()?;
    make_keys(dir)?;
    let mut subjects = vec![Subject::new(DIRECT, None)];
    if !plan.without_conduit {
        subjects.push(Subject::new(CONDUIT, None));
    }
    subjects.extend(plan.others.iter().map(|(name, script)| Subject::new(name, Some(script.clone()))));
    for subject in &mut subjects {
        eprintln!("starting {} …", subject.name);
        subject.start(world, &executable, dir)?;
    }
    let mut memory = Vec::new();
    for subject in subjects.iter().filter(|subject| subject.name != DIRECT) {
        let idle = subject.usage()?;
        ensure!(idle.iter().all(|side| side.processes > 0), "no proxy runs in a pod of {}", subject.name);
        memory.push(Memory {
            subject: subject.name.clone(),
            idle: rss(idle),
            idle_proportional: idle.map(|side| side.pss_bytes),
            connections: plan.idle_connections,
            ..Memory::default()
        });
    }
    let mut report = Report {
        taken_unix_s: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        machine: Machine::this(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seconds: plan.seconds,
        real_time: plan.realtime,
        ..Report::default()
    };
    let cases = cases(plan);
    ensure!(!cases.is_empty(), "no load has {:?} in its name", plan.only.as_deref().unwrap_or_default());
    for repeat in 1..=plan.repeats {
        for case in &cases {
            for subject in subjects.iter().filter(|subject| !case.unmeshed || subject.is_ours()) {
                let run = one(plan, world, &executable, subject, *case)
                    .with_context(|| format!("{} on {}", case.name(), subject.name))?;
                tell(plan, repeat, &run);
                report.runs.push(run);
            }
        }
    }
    for memory in &mut memory {
        let Some(subject) = subjects.iter().find(|subject| subject.name == memory.subject) else { continue };
        after_loads(plan, world, &executable, subject, memory)?;
    }
    report.memory = memory;
    if !plan.without_conduit {
        eprintln!("starting the proxy {STARTS} times, and making handshakes …");
        report.starts = Some(starts(world, &executable)?);
        report.handshakes = Some(handshakes(plan, world, &executable)?);
    }
    Ok(report)
}

/// In a pod that has no proxy, so that its ports are free, as the proxy of one that has.
fn starts(world: &Client, executable: &Path) -> anyhow::Result<Starts> {
    let (direct, conduit) = (Subject::new(DIRECT, None), Subject::new(CONDUIT, None));
    let env = local::proxy_environment(world, &conduit.client())?;
    let command = words(executable, &["start", "--times", STARTS]);
    let printed = local::measure_with(world, &direct.client(), command, env)?;
    serde_json::from_str(&printed).with_context(|| format!("the starts printed {printed:?}"))
}

/// From the same pod, to the server's proxy.
fn handshakes(plan: &Plan, world: &Client, executable: &Path) -> anyhow::Result<Handshakes> {
    let (direct, conduit) = (Subject::new(DIRECT, None), Subject::new(CONDUIT, None));
    let server = conduit.server();
    let env = local::proxy_environment(world, &conduit.client())?;
    let expected = Identity::new(TRUST_DOMAIN, "default", &server)?;
    let [to, seconds] = [conduit.target(Kind::Http), plan.seconds.to_string()];
    let command = words(
        executable,
        &["handshakes", "--to", &to, "--expected", expected.as_str(), "--seconds", &seconds],
    );
    let before = conduit.usage()?[1].cpu_seconds;
    let printed = local::measure_with(world, &direct.client(), command, env)?;
    let mut found: Handshakes =
        serde_json::from_str(&printed).with_context(|| format!("the handshakes printed {printed:?}"))?;
    found.server_cpu_us = (conduit.usage()?[1].cpu_seconds - before) * 1e6 / found.count as f64;
    Ok(found)
}

/// Memory after all loads, with idle connections, and at its peak.
fn after_loads(
    plan: &Plan,
    world: &Client,
    executable: &Path,
    subject: &Subject,
    memory: &mut Memory,
) -> anyhow::Result<()> {
    memory.after_load = rss(subject.usage()?);
    let (to, connections) = (subject.target(Kind::Http), plan.idle_connections.to_string());
    let command = words(executable, &["hold", "--to", &to, "--connections", &connections]);
    let held = local::hold(world, &subject.client(), command)
        .with_context(|| format!("idle connections of {}", subject.name))?;
    memory.with_connections = rss(subject.usage()?);
    drop(held);
    for connections in BUSY.0 {
        let busy = busy(plan, world, executable, subject, connections);
        memory
            .busy
            .push(busy.with_context(|| format!("{connections} busy connections of {}", subject.name))?);
    }
    memory.peak = subject.usage()?.map(|side| side.peak_bytes);
    Ok(())
}

/// Memory while this many connections are in use, and after that.
fn busy(
    plan: &Plan,
    world: &Client,
    executable: &Path,
    subject: &Subject,
    connections: usize,
) -> anyhow::Result<Busy> {
    let rate = BUSY.1;
    let [sent, number, seconds] = [u64::from(rate), connections as u64, plan.seconds].map(|n| n.to_string());
    let mut command = words(executable, &["load", "http", "--to", &subject.target(Kind::Http)]);
    command.extend(["--rate", &sent, "--connections", &number, "--seconds", &seconds].map(str::to_owned));
    let mut under_load = [0; 2];
    let printed = std::thread::scope(|scope| {
        let load = scope.spawn(|| local::measure(world, &subject.client(), command));
        while !load.is_finished() {
            std::thread::sleep(LOOK_INTERVAL);
            let now = rss(subject.usage()?);
            under_load = [0, 1].map(|side| now[side].max(under_load[side]));
        }
        load.join().map_err(|_| anyhow::anyhow!("the load's thread panicked"))?
    })?;
    let outcome: Outcome = serde_json::from_str(&printed)?;
    ensure!(outcome.failed == 0, "{} requests failed: {:?}", outcome.failed, outcome.last_failure);
    std::thread::sleep(GIVE_BACK_TIME);
    Ok(Busy { connections, rate, under_load, after: rss(subject.usage()?) })
}

/// Those at a fixed rate, then those of most throughput.
fn cases(plan: &Plan) -> Vec<Case> {
    let case = |kind, rate, connections, calls| Case {
        kind,
        rate,
        connections,
        calls,
        fresh: false,
        unmeshed: false,
    };
    let mut all = Vec::new();
    all.extend(RATES.map(|rate| case(Kind::Http, rate, CONNECTIONS, 1)));
    all.extend(RATES.map(|rate| case(Kind::Http2, rate, CONNECTIONS, CALLS_FIXED)));
    all.extend(RATES.map(|rate| case(Kind::Grpc, rate, 1, CALLS_FIXED)));
    all.extend(FEWER_RATES.map(|rate| case(Kind::Stream, rate, 1, CALLS_FIXED)));
    all.extend(FEWER_RATES.map(|rate| case(Kind::Echo, rate, CONNECTIONS, 1)));
    all.extend([
        case(Kind::Http, 0, CONNECTIONS_MOST, 1),
        case(Kind::Http2, 0, CONNECTIONS, CALLS),
        case(Kind::Grpc, 0, 1, CALLS),
        case(Kind::Grpc, 0, MANY_CALLS.0, MANY_CALLS.1),
        case(Kind::Stream, 0, 1, CALLS),
        case(Kind::Echo, 0, CONNECTIONS_MOST, 1),
        // One connection: a second would share the same two CPUs.
        case(Kind::Bulk, 0, 1, 1),
        Case { unmeshed: true, ..case(Kind::Bulk, 0, 1, 1) },
        Case { fresh: true, ..case(Kind::Http, 0, CONNECTIONS, 1) },
        Case { fresh: true, ..case(Kind::Echo, 0, CONNECTIONS, 1) },
    ]);
    all.retain(|case| plan.only.as_ref().is_none_or(|part| case.name().contains(part.as_str())));
    all
}

/// One load on one subject, after a short one that is not measured.
fn one(plan: &Plan, world: &Client, executable: &Path, subject: &Subject, case: Case) -> anyhow::Result<Run> {
    // Not for most throughput: the kernel keeps a twentieth of the CPU from what runs in real time without a pause.
    let real_time = plan.realtime && case.rate > 0;
    subject.schedule(real_time)?;
    let load = |seconds: u64| {
        let to = if case.unmeshed {
            Subject::new(DIRECT, None).target(case.kind)
        } else {
            subject.target(case.kind)
        };
        let [rate, seconds, connections, calls] =
            [u64::from(case.rate), seconds, case.connections as u64, case.calls as u64]
                .map(|n| n.to_string());
        let mut command = words(executable, &["load", argument(case.kind), "--to", &to, "--rate", &rate]);
        command.extend(
            ["--seconds", &seconds, "--connections", &connections, "--calls", &calls].map(str::to_owned),
        );
        if case.fresh {
            command.push("--fresh".to_owned());
        }
        if real_time {
            local::in_real_time(&mut command);
        }
        let printed = local::measure(world, &subject.client(), command)?;
        serde_json::from_str::<Outcome>(&printed).with_context(|| format!("the load printed {printed:?}"))
    };
    load(WARM_UP_SECONDS)?;
    let before = subject.usage()?;
    let outcome = load(plan.seconds)?;
    let after = subject.usage()?;
    Ok(Run {
        subject: subject.name.clone(),
        case,
        outcome,
        client_cpu_seconds: after[0].cpu_seconds - before[0].cpu_seconds,
        server_cpu_seconds: after[1].cpu_seconds - before[1].cpu_seconds,
    })
}

fn rss(usage: [Usage; 2]) -> [u64; 2] {
    usage.map(|side| side.rss_bytes)
}

fn tell(plan: &Plan, repeat: u32, run: &Run) {
    let Run { subject, case, outcome, .. } = run;
    eprintln!(
        "[{repeat}/{}] {} {subject}: {:.0}/s, {:.0} MB/s, p50 {:.0} µs, p99 {:.0} µs, failed {}, CPU {:.2} s{}",
        plan.repeats,
        case.name(),
        outcome.rps,
        outcome.bytes_per_s / 1e6,
        outcome.p50_us,
        outcome.p99_us,
        outcome.failed,
        run.cpu_seconds(),
        outcome.last_failure.as_ref().map_or_else(String::new, |why| format!(" ({why})")),
    );
}

/// Certificates for another proxy: an authority of this run, and one certificate for both sides.
fn make_keys(dir: &Path) -> anyhow::Result<()> {
    let mut authority = CertificateParams::new(Vec::new())?;
    // With one name for both, verifiers would take the certificate for one that signed itself.
    authority.distinguished_name.push(DnType::CommonName, "conduit-bench authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let mut params = CertificateParams::new(vec!["bench".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "conduit-bench");
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    let files = [("ca.pem", authority_pem), ("cert.pem", certificate), ("key.pem", key.serialize_pem())];
    for (file, text) in files {
        fs::write(dir.join(file), text).with_context(|| format!("cannot write {file}"))?;
    }
    Ok(())
}
