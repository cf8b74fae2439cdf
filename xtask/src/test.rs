//! `cargo xtask test`: every test there is, in stages. It says first what it will build and install, shows each stage's progress,
//! goes on after a stage that failed, and ends with one line of counts. What a stage printed is in its log under
//! `target/xtask-logs`. Tests that share the machine's network and clock with whatever else runs on it get a second chance, alone,
//! and are named when they took it. Deliberately absent: skipping what a machine lacks; that fails and says what is missing. Only
//! root is not asked for: without it the cluster's stage is left out, which the first lines and the last ones say.

mod policy;

use std::env::join_paths;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cluster_parts::cert_manager;
use crate::command::{Counts, Log, bin_dir, cargo, failed_test, output, root, target_dir, tools_dir};
use crate::earlier::Earlier;
use crate::{cluster, cluster_parts, demo, docs, fuzz, images, instructions, readme, tidy, tools};

/// How long each fuzz target runs in the smoke stage, in seconds.
const SMOKE_SECONDS: u64 = 5;

/// So many tests that failed are run again; when more fail, something is broken and not merely late.
const AGAIN_MAX: usize = 3;

/// Options of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only what is quick and needs no release build: tidy, fmt, clippy, unit, docs
    #[arg(long)]
    fast: bool,
    /// Only these stages, by name
    #[arg(long, value_delimiter = ',', value_name = "STAGE,…")]
    only: Vec<String>,
    /// All stages but these, by name
    #[arg(long, value_delimiter = ',', value_name = "STAGE,…")]
    without: Vec<String>,
    /// The IP families of the cluster that the stage k8s starts [default: dual]
    #[arg(long, value_parser = ["v4", "v6", "dual"])]
    families: Option<String>,
    /// With the test of the stage k8s that needs cert-manager, which is built first
    #[arg(long)]
    cert_manager: bool,
    /// Let the stage k8s upgrade from this commit or tag of the history, which is built first, with load all the time [default: this
    /// version's images by another tag]
    #[arg(long, value_name = "REVISION")]
    upgrade_from: Option<String>,
    /// Only tests whose name contains this, of the unit and end-to-end tests
    filter: Option<String>,
}

impl Options {
    /// The stages of `cargo xtask lint`.
    pub(crate) fn lint() -> Self {
        Self { only: ["fmt", "clippy", "rustdoc", "deny"].map(str::to_owned).to_vec(), ..Self::default() }
    }

    fn wants(&self, stage: &Stage) -> bool {
        if self.without.iter().any(|name| name == stage.name) {
            return false;
        }
        if !self.only.is_empty() {
            return self.only.iter().any(|name| name == stage.name);
        }
        (stage.quick || !self.fast) && (stage.filters || self.filter.is_none())
    }
}

/// One stage. It counts as one test of its own unless it runs test binaries.
struct Stage {
    name: &'static str,
    what: &'static str,
    quick: bool,
    filters: bool,
    /// Needs root, and is left out without it unless it is named.
    root: bool,
    run: fn(&Options, &mut Log) -> Result<bool>,
}

const STAGES: [Stage; 14] = [
    stage("tidy", "the style", true, run_tidy),
    stage("fmt", "formatting", true, run_fmt),
    stage("clippy", "lints, all targets, warnings refused", true, run_clippy),
    Stage { filters: true, ..stage("unit", "unit and integration tests of every crate", true, run_unit) },
    stage("docs", "generated pages equal to the code's tables", true, |_, log| {
        log.run(&mut docs::generator(true), |_| false)
    }),
    stage("rustdoc", "API documentation, warnings refused", false, run_rustdoc),
    stage("policy", "the manifests under a linter's policies", false, |_, log| policy::run(log)),
    stage("deny", "dependencies: bans, licences, sources", false, run_deny),
    stage("fuzz", "every fuzz target for a few seconds", false, |_, log| fuzz::smoke(SMOKE_SECONDS, log)),
    stage("build", "release binaries", false, |_, log| demo::build_logged(log)),
    stage("instructions", "instructions of a request's steps, against those on record", false, |_, log| {
        instructions::compare(log)
    }),
    stage("readme", "the README's commands, as written", false, |_, log| readme::run(log)),
    Stage {
        filters: true,
        ..stage("e2e", "end to end: real servers in real namespaces", false, run_end_to_end)
    },
    Stage {
        filters: true,
        root: true,
        ..stage("k8s", "end to end: a real Kubernetes cluster", false, run_kubernetes)
    },
];

const fn stage(
    name: &'static str,
    what: &'static str,
    quick: bool,
    run: fn(&Options, &mut Log) -> Result<bool>,
) -> Stage {
    Stage { name, what, quick, filters: false, root: false, run }
}

/// Runs the stages that the options want; returns whether nothing failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut named = options.only.iter().chain(&options.without);
    if let Some(unknown) = named.find(|name| STAGES.iter().all(|stage| stage.name != **name)) {
        bail!("there is no stage {unknown}; there are {}", STAGES.map(|stage| stage.name).join(", "));
    }
    let wanted = STAGES.iter().filter(|stage| options.wants(stage));
    let allowed = |stage: &&Stage| !stage.root || !options.only.is_empty() || is_root();
    let (stages, left_out): (Vec<&Stage>, Vec<&Stage>) = wanted.partition(allowed);
    announce(&stages);
    tell_of(&left_out);
    let (mut total, mut failures, mut flaky) = (Counts::default(), Vec::new(), Vec::new());
    for (index, stage) in stages.iter().enumerate() {
        println!("[{}/{}] {}: {}", index + 1, stages.len(), stage.name, stage.what);
        let started = Instant::now();
        let counts = run_stage(stage, options, &mut flaky)?;
        let verdict = if counts.failed == 0 { "ok" } else { "FAILED" };
        println!(
            "    {verdict}: {} passed, {} failed, {:.0} s",
            counts.passed,
            counts.failed,
            started.elapsed().as_secs_f64()
        );
        if counts.failed > 0 {
            failures.push(stage.name);
        }
        total.add(counts);
    }
    println!();
    if !failures.is_empty() {
        println!("failed: {}", failures.join(", "));
    }
    if !flaky.is_empty() {
        println!("flaky, passed only when run again alone: {}", flaky.join(", "));
    }
    tell_of(&left_out);
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total.failed == 0)
}

/// Says which stages are not run.
fn tell_of(left_out: &[&Stage]) {
    for stage in left_out {
        println!(
            "not run, since it needs root: {} ({}); `cargo xtask test` as root runs it",
            stage.name, stage.what
        );
    }
}

fn is_root() -> bool {
    output(std::process::Command::new("id").arg("-u")).is_ok_and(|user| user.trim() == "0")
}

/// Runs one stage; a failure that no test binary counted, such as a build's, counts as one.
fn run_stage(stage: &Stage, options: &Options, flaky: &mut Vec<String>) -> Result<Counts> {
    let mut log = Log::create(stage.name)?;
    let succeeded = match (stage.run)(options, &mut log) {
        Ok(succeeded) => succeeded,
        Err(error) => {
            log.note(&format!("{error:#}"))?;
            false
        }
    };
    let mut counts = log.counts();
    match succeeded {
        true if counts == Counts::default() && !stage.filters => counts.passed = 1,
        false => counts.failed = counts.failed.max(1),
        true => {}
    }
    if counts.failed > 0 {
        log.print_tail();
    }
    flaky.extend_from_slice(log.flaky());
    Ok(counts)
}

fn announce(stages: &[&Stage]) {
    println!("stages: {}", stages.iter().map(|stage| stage.name).collect::<Vec<_>>().join(", "));
    println!(
        "builds into {}, logs into {}",
        target_dir().display(),
        target_dir().join("xtask-logs").display()
    );
    if stages.iter().any(|stage| !stage.quick) {
        println!(
            "about 50 minutes on 2 cores when nothing is built, about 25 when everything is; --fast is the quick part"
        );
        if stages.iter().any(|stage| stage.name == "k8s") && !cluster_parts::is_built() {
            println!(
                "builds Kubernetes {} with Go, once: about six minutes on 2 cores, into {}",
                cluster_parts::KUBERNETES,
                cluster_parts::cache().display()
            );
        }
        match tools::missing() {
            missing if missing.is_empty() => {
                println!("nothing to install: the tools are in {} and on the path", tools_dir().display())
            }
            missing => {
                println!("installs, once (tools into {}): {}", tools_dir().display(), missing.join(", "))
            }
        }
    } else {
        println!(
            "about 5 minutes on 2 cores when nothing is built, about 1 when everything is; installs nothing"
        );
    }
    println!();
}

fn run_tidy(_: &Options, log: &mut Log) -> Result<bool> {
    let findings = tidy::findings()?;
    for finding in &findings {
        log.note(&finding.to_string())?;
    }
    Ok(findings.is_empty())
}

fn run_fmt(_: &Options, log: &mut Log) -> Result<bool> {
    log.run(&mut cargo(&["fmt", "--all", "--check", "--", "--color", "never"]), |_| false)
}

fn run_clippy(_: &Options, log: &mut Log) -> Result<bool> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    log.run(&mut cargo(&arguments), |_| false)
}

/// Every test but the end-to-end ones, which need release binaries and privileges.
fn run_unit(options: &Options, log: &mut Log) -> Result<bool> {
    let filter = options.filter.as_deref();
    let apart = ["conduit-testbed", "conduit-install"];
    let mut rest = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    rest.args(apart.iter().flat_map(|package| ["--exclude", package]));
    let others = log.run(rest.args(filter), is_failure)?;
    let mut libraries = cargo(&["test", "--lib", "--locked", "--no-fail-fast"]);
    libraries.args(apart.iter().flat_map(|package| ["-p", package]));
    Ok(log.run(libraries.args(filter), is_failure)? && others)
}

fn run_rustdoc(_: &Options, log: &mut Log) -> Result<bool> {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    log.run(doc.env("RUSTDOCFLAGS", "-D warnings"), |_| false)
}

/// Advisories are left out: their database would have to be fetched, and a test must not depend on what the network says today.
fn run_deny(_: &Options, log: &mut Log) -> Result<bool> {
    println!(
        "    not checked here: advisories, whose database is fetched; `cargo deny check advisories` does"
    );
    let mut deny = std::process::Command::new(tools::deny()?);
    deny.args(["--locked", "check", "bans", "licenses", "sources"]).current_dir(root());
    log.run(&mut deny, |_| false)
}

fn run_end_to_end(options: &Options, log: &mut Log) -> Result<bool> {
    if !root().join("crates/testbed/tests/e2e/main.rs").exists() {
        bail!("crates/testbed/tests/e2e/main.rs is missing: there are no end-to-end tests to run");
    }
    tools::end_to_end()?;
    if !options.only.is_empty() || options.filter.is_some() {
        println!("    building the release binaries first");
        if !demo::build_logged(log)? {
            bail!("the release binaries do not build");
        }
    }
    let path = join_paths(tools::search_path()).context("a folder of the path has a colon in its name")?;
    let mut chart = cargo(&["test", "-p", "conduit-install", "--test", "helm", "--locked"]);
    let equal = log.run(chart.args(options.filter.as_deref()).env("PATH", &path), is_test)?;
    let tests = |arguments: &[String]| {
        let mut tests = cargo(&["test", "-p", "conduit-testbed", "--test", "e2e", "--locked", "--"]);
        tests.args(arguments).env("CONDUIT_BIN_DIR", bin_dir()).env("PATH", &path);
        tests
    };
    Ok(run_with_second_chance(options, 2, tests, log)? && equal)
}

/// Runs tests, `threads` at once. Those that failed are run once more, alone, unless they are many.
fn run_with_second_chance(
    options: &Options,
    threads: usize,
    tests: impl Fn(&[String]) -> std::process::Command,
    log: &mut Log,
) -> Result<bool> {
    let filter = options.filter.iter().cloned();
    let first: Vec<String> = filter.chain([format!("--test-threads={threads}")]).collect();
    log.take_failed();
    if log.run(&mut tests(&first), is_test)? {
        return Ok(true);
    }
    let failed = log.take_failed();
    if failed.is_empty() || failed.len() > AGAIN_MAX {
        return Ok(false);
    }
    println!("    once more, alone: {}", failed.join(", "));
    log.print_tail();
    let alone = ["--exact".to_owned(), "--test-threads=1".to_owned()];
    let passed = log.run(&mut tests(&[&failed[..], &alone].concat()), is_test)?;
    let again = log.take_failed();
    log.ran_again(failed, &again);
    Ok(passed)
}

/// The name of the cluster that the tests share, so that one that runs by hand stays as it is.
const CLUSTER: &str = "tests";

/// Starts a cluster with Conduit's images, runs the tests in it and takes it down, whatever came of them.
fn run_kubernetes(options: &Options, log: &mut Log) -> Result<bool> {
    if !is_root() {
        bail!(
            "a Kubernetes cluster needs root; run `cargo xtask test --only k8s` as root, all other stages run without"
        );
    }
    tools::end_to_end()?;
    let parts = cluster_parts::build()?;
    if (!options.only.is_empty() || options.filter.is_some()) && !demo::build_logged(log)? {
        bail!("the release binaries do not build");
    }
    images::pack_release()?;
    let cert_manager = options.cert_manager.then(cert_manager::build).transpose()?;
    let earlier = options.upgrade_from.as_deref().map(Earlier::build).transpose()?;
    let families = options.families.as_deref().unwrap_or("dual");
    let mut up = cluster_command(&["up", "--replace", "--nodes", "2", "--families", families])?;
    if !log.run(up.env("CONDUIT_CLUSTER_PARTS", &parts), |line| line.starts_with("cluster: "))? {
        bail!("the cluster does not start");
    }
    let tested = run_in_cluster(options, cert_manager.as_deref(), earlier.as_ref(), log);
    let down = log.run(&mut cluster_command(&["down"])?, |line| line.starts_with("cluster: "))?;
    Ok(tested? && down)
}

fn run_in_cluster(
    options: &Options,
    cert_manager: Option<&Path>,
    earlier: Option<&Earlier>,
    log: &mut Log,
) -> Result<bool> {
    let mut import = cluster_command(&["import"])?;
    for name in images::NAMES {
        import.arg(images::default_folder().join(format!("{name}.tar")));
    }
    import.args(earlier.into_iter().flat_map(Earlier::images));
    if !log.run(&mut import, |_| false)? {
        bail!("the images cannot be imported");
    }
    let tests = |arguments: &[String]| {
        let mut tests = cargo(&["test", "-p", "conduit-testbed", "--test", "k8s", "--locked", "--"]);
        tests.args(arguments).env("CONDUIT_CLUSTER", CLUSTER).env("CONDUIT_BIN_DIR", bin_dir());
        if let Some(earlier) = earlier {
            tests.env("CONDUIT_UPGRADE_FROM", &earlier.folder);
        }
        match cert_manager {
            Some(folder) => tests.env("CONDUIT_CERT_MANAGER", folder),
            None => tests.args(["--skip", "cert_manager::"]),
        };
        tests
    };
    let passed = run_with_second_chance(options, 4, tests, log)?;
    if options.families.as_deref() == Some("v6") {
        println!("    without the test of scale: its pods, which nobody runs, have IPv4 addresses");
        return Ok(passed);
    }
    // Last, since it leaves nodes and pods behind that nobody runs.
    let mut scale = cargo(&["test", "-p", "conduit-bench", "--test", "k8s", "--locked", "--"]);
    scale.args(options.filter.as_deref()).env("CONDUIT_CLUSTER", CLUSTER).env("CONDUIT_BIN_DIR", bin_dir());
    Ok(log.run(&mut scale, is_test)? && passed)
}

fn cluster_command(arguments: &[&str]) -> Result<std::process::Command> {
    let mut command = cluster::program()?;
    command.args(arguments).env("CONDUIT_CLUSTER", CLUSTER);
    Ok(command)
}

/// A line that names a test that failed.
fn is_failure(line: &str) -> bool {
    failed_test(line).is_some()
}

/// A line that names a test that ended.
fn is_test(line: &str) -> bool {
    line.starts_with("test ") && (line.ends_with(" ok") || line.ends_with("FAILED"))
}
