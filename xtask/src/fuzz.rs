//! `cargo xtask fuzz`: coverage-guided fuzzing of every parser that reads bytes from outside. The targets are a workspace of their
//! own in `fuzz/`, built by the pinned stable toolchain: the coverage that libFuzzer reads is a compiler pass that needs no
//! nightly. Deliberately absent: sanitizers (the code fuzzed here has no unsafe block) and minimising, which libFuzzer does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{Log, cargo, check, host, root, shown, target_dir};

/// Counters per edge, a table of their places, and comparisons traced so that magic bytes are found.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions --cfg fuzzing";

/// The longest input, in bytes: heads and hellos are shorter, and short inputs find more per second.
const INPUT_BYTES_MAX: usize = 4096;
/// Inputs that a smoke run tries at the most: a second or two of each target.
const SMOKE_RUNS: &str = "-runs=20000";

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run for so many seconds (each target, when none is named) and stop
    #[arg(long, value_name = "SECONDS")]
    smoke: Option<u64>,
    /// The target; without one all run in turn, 10 seconds each unless --smoke says otherwise
    target: Option<String>,
    /// Arguments for libFuzzer, or an input that failed
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds the targets and runs what the options name.
pub(crate) fn run(options: &Options) -> Result<bool> {
    check(&mut build()?)?;
    let targets = targets()?;
    let chosen = match &options.target {
        Some(name) if targets.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no fuzz target {name}; there are {}", targets.join(", ")),
        None => targets,
    };
    let seconds = options.smoke.or(options.target.is_none().then_some(10));
    let mut all_held = true;
    for target in chosen {
        println!("fuzzing {target}");
        let mut command = target_command(&target, seconds)?;
        command.args(&options.arguments);
        let status = command.status().with_context(|| format!("cannot run {}", shown(&command)))?;
        all_held &= status.success();
    }
    Ok(all_held)
}

/// Builds the targets and runs each for some seconds; each counts as a test.
pub(crate) fn smoke(seconds: u64, log: &mut Log) -> Result<bool> {
    if !log.run(&mut build()?, |_| false)? {
        return Ok(false);
    }
    let (mut passed, mut failed) = (0, 0);
    for target in targets()? {
        // The same seed and number of runs give the same inputs: a smoke run fails for a change and not by chance. To find
        // what is new is the long run's task.
        let mut command = target_command(&target, Some(seconds))?;
        command.args(["-seed=1", SMOKE_RUNS]);
        let held = log.run(&mut command, |line| line.contains("SUMMARY"))?;
        println!("    {target}: {}", if held { "ok" } else { "FAILED" });
        if held { passed += 1 } else { failed += 1 }
    }
    log.note(&format!("test result: {passed} passed; {failed} failed; fuzz targets"))?;
    Ok(failed == 0)
}

/// The names of the targets: the files of fuzz/targets.
fn targets() -> Result<Vec<String>> {
    let entries = fs::read_dir(folder().join("targets")).context("cannot list fuzz/targets")?;
    let names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    let mut names: Vec<String> =
        names.iter().filter_map(|name| name.strip_suffix(".rs")).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// The flags apply to the target's own code alone, because the target is named: build scripts run uninstrumented.
fn build() -> Result<Command> {
    let mut build = cargo(&["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    build
        .arg("--target")
        .arg(host()?)
        .arg("--target-dir")
        .arg(target_dir().join("fuzz"))
        .env("RUSTFLAGS", COVERAGE);
    Ok(build)
}

fn target_command(target: &str, seconds: Option<u64>) -> Result<Command> {
    let corpus = folder().join("corpus").join(target);
    let artifacts = folder().join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut command = Command::new(target_dir().join("fuzz").join(host()?).join("release").join(target));
    command.arg(corpus);
    let seeds = folder().join("seeds").join(target);
    if seeds.exists() {
        command.arg(seeds);
    }
    command
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"));
    command.args(["-timeout=5", "-rss_limit_mb=1024", "-verbosity=0", "-print_final_stats=1"]);
    if let Some(seconds) = seconds {
        command.arg(format!("-max_total_time={seconds}"));
    }
    Ok(command)
}

fn folder() -> PathBuf {
    root().join("fuzz")
}
