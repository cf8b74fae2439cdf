//! The benchmark from start to end: one world, all subjects in it, each load on each subject in turn and all of that again, so
//! that whatever else the machine does meanwhile meets all subjects alike. Progress goes to stderr, the findings to files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, ensure};
use clap::Args;
use conduit_testbed::client::{self, Client};
use conduit_testbed::spec::Dir;
use conduit_testbed::supervisor::Options;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::load::{Kind, Outcome};
use crate::processes::{Machine, Usage};
use crate::report::{Case, DIRECT, Memory, Report, Run, name};
use crate::subject::{Subject, argument};

/// Conduit's name as a subject.
const CONDUIT: &str = "conduit";
/// The rates at which latency is compared, per second.
const RATES: [u32; 2] = [500, 2000];
/// Seconds of load before each run that are not measured: connections are opened, caches filled.
const WARM_UP_SECONDS: u64 = 1;

/// What to run.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Directory to write benchmark.json and README.md to.
    #[arg(long, default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Seconds of each run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often each run is repeated.
    #[arg(long, default_value_t = 3)]
    repeats: u32,
    /// Connections of HTTP/1.1 and TCP load.
    #[arg(long, default_value_t = 16)]
    connections: usize,
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
    let dir = tempfile::Builder::new().prefix("conduit-bench-").tempdir()?;
    let world = Client::new(Dir::new(dir.path().join("world")));
    let options = Options {
        detach: true,
        until_stdin_closes: true,
        log: "warn".to_owned(),
        ..Options::new(world.dir().clone())
    };
    let mut supervisor = client::start(&options)?;
    let measured = world.ping().map_err(Into::into).and_then(|_| measure(plan, &world, dir.path()));
    let down = world.down();
    drop(supervisor.stdin.take());
    supervisor.wait()?;
    let report = measured?;
    down?;
    fs::create_dir_all(&plan.out)?;
    fs::write(plan.out.join("benchmark.json"), serde_json::to_string_pretty(&report)? + "\n")?;
    fs::write(plan.out.join("README.md"), report.markdown())?;
    eprintln!("written to {}: benchmark.json and README.md", plan.out.display());
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
    let proxied: Vec<&Subject> = subjects.iter().filter(|subject| subject.name != DIRECT).collect();
    let mut memory = Vec::new();
    for subject in &proxied {
        let idle = subject.usage()?;
        ensure!(idle.iter().all(|side| side.processes > 0), "no proxy runs in a pod of {}", subject.name);
        memory.push(Memory {
            subject: subject.name.clone(),
            idle: rss(idle),
            after_load: [0; 2],
            connections: plan.idle_connections,
            with_connections: [0; 2],
        });
    }
    let mut report = Report {
        taken_unix_s: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        machine: Machine::this(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seconds: plan.seconds,
        ..Report::default()
    };
    for repeat in 1..=plan.repeats {
        for case in cases() {
            for subject in &subjects {
                let run = one(plan, world, &executable, subject, case)?;
                tell(plan, repeat, &run);
                report.runs.push(run);
            }
        }
    }
    for (subject, memory) in proxied.iter().zip(&mut memory) {
        memory.after_load = rss(subject.usage()?);
        let command = words(
            &executable,
            &[
                "hold",
                "--to",
                &subject.target(Kind::Http),
                "--connections",
                &plan.idle_connections.to_string(),
            ],
        );
        let held =
            subject.begin(world, command).with_context(|| format!("idle connections of {}", subject.name))?;
        memory.with_connections = rss(subject.usage()?);
        drop(held);
    }
    report.memory = memory;
    Ok(report)
}

fn cases() -> Vec<Case> {
    let requests = [Kind::Http, Kind::Grpc, Kind::Echo];
    let fixed = requests.iter().flat_map(|kind| RATES.map(|rate| Case { kind: *kind, rate }));
    let most = requests.iter().chain(&[Kind::Bulk]).map(|kind| Case { kind: *kind, rate: 0 });
    fixed.chain(most).collect()
}

/// One load on one subject, after a short one that is not measured.
fn one(plan: &Plan, world: &Client, executable: &Path, subject: &Subject, case: Case) -> anyhow::Result<Run> {
    let load = |seconds: u64| {
        // One bulk connection: a second would share the same two CPUs.
        let connections = if case.kind == Kind::Bulk { 1 } else { plan.connections };
        let command = words(
            executable,
            &[
                "load",
                argument(case.kind),
                "--to",
                &subject.target(case.kind),
                "--rate",
                &case.rate.to_string(),
                "--seconds",
                &seconds.to_string(),
                "--connections",
                &connections.to_string(),
            ],
        );
        let printed = subject.measure(world, command)?;
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

fn words(executable: &Path, words: &[&str]) -> Vec<String> {
    std::iter::once(executable.display().to_string())
        .chain(words.iter().map(|word| (*word).to_owned()))
        .collect()
}

fn rss(usage: [Usage; 2]) -> [u64; 2] {
    usage.map(|side| side.rss_bytes)
}

fn tell(plan: &Plan, repeat: u32, run: &Run) {
    let Run { subject, case, outcome, client_cpu_seconds, server_cpu_seconds } = run;
    let rate = if case.rate == 0 { "most".to_owned() } else { format!("{}/s", case.rate) };
    eprintln!(
        "[{repeat}/{}] {} {rate} {subject}: {:.0}/s, {:.0} MB/s, p50 {:.0} µs, p99 {:.0} µs, failed {}, CPU {:.2} s{}",
        plan.repeats,
        name(case.kind),
        outcome.rps,
        outcome.bytes_per_s / 1e6,
        outcome.p50_us,
        outcome.p99_us,
        outcome.failed,
        client_cpu_seconds + server_cpu_seconds,
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
