//! `cargo xtask instructions`: how many instructions each step of a request takes, counted by callgrind, against what is on
//! record. A step is run so often and twice as often, and the difference counts, so that start and end do not. It uses
//! valgrind. Deliberately absent: times, which are not steady on a shared machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{Log, bin_dir, cargo, check, output, root};
use crate::{demo, tools};

/// Steps that crates/proxy/benches/instructions.rs knows.
const STEPS: [&str; 6] = ["detect", "request_head", "response_head", "pick", "record", "tap_filter"];

/// How often a step is run the first time.
const TIMES: u64 = 1000;

/// A step may take so many percent more than on record: what another C library or processor makes of memory copies, and no more.
const MORE_PERCENT_MAX: u64 = 5;

/// Options of `cargo xtask instructions`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Put the counts on record, when they are meant to be what they are
    #[arg(long)]
    write: bool,
    /// Count those of the real pair of proxies per request instead; with --write into docs/benchmarks
    #[arg(long)]
    pair: bool,
}

/// Instructions of one run of each step.
type Counts = BTreeMap<String, u64>;

fn record() -> PathBuf {
    root().join("crates/proxy/benches/instructions.json")
}

/// Counts, prints, and compares or writes.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if options.pair {
        return pair(options.write);
    }
    let mut log = Log::create("instructions")?;
    if !options.write {
        return compare(&mut log);
    }
    let counts = count(&mut log)?;
    std::fs::write(record(), serde_json::to_string_pretty(&counts)? + "\n")
        .with_context(|| format!("cannot write {}", record().display()))?;
    println!("written to {}", record().display());
    Ok(true)
}

/// Builds for release and has the benchmark's program count.
fn pair(write: bool) -> Result<bool> {
    tools::callgrind()?;
    demo::build_and_say()?;
    let mut count = Command::new(demo::build_bench()?);
    count.arg("instructions").env("CONDUIT_BIN_DIR", bin_dir());
    if write {
        count.arg("--write").arg(root().join("docs/benchmarks"));
    }
    check(&mut count).map(|()| true)
}

/// Whether no step takes more than on record, give or take.
pub(crate) fn compare(log: &mut Log) -> Result<bool> {
    let text = std::fs::read_to_string(record()).with_context(|| {
        format!("cannot read {}; `cargo xtask instructions --write` makes it", record().display())
    })?;
    let before: Counts = serde_json::from_str(&text).with_context(|| record().display().to_string())?;
    let now = count(log)?;
    let mut good = true;
    for (step, count) in &now {
        let on_record =
            *before.get(step).with_context(|| format!("{step} is not on record; run with --write"))?;
        let line = format!("{step}: {count} instructions, {on_record} on record");
        println!("    {line}");
        log.note(&line)?;
        if is_more(*count, on_record) {
            good = false;
            log.note(&format!(
                "{step} takes more than {MORE_PERCENT_MAX} % more than on record: find out why, or put it on record with `cargo xtask instructions --write` and say why"
            ))?;
        }
    }
    Ok(good)
}

fn is_more(count: u64, on_record: u64) -> bool {
    count * 100 > on_record * (100 + MORE_PERCENT_MAX)
}

fn count(log: &mut Log) -> Result<Counts> {
    tools::callgrind()?;
    let program = build(log)?;
    let mut counts = Counts::new();
    for step in STEPS {
        let (once, twice) = (instructions(&program, step, TIMES)?, instructions(&program, step, 2 * TIMES)?);
        counts.insert(step.to_owned(), twice.saturating_sub(once) / TIMES);
    }
    Ok(counts)
}

/// Builds the steps as the release binaries are built.
fn build(log: &mut Log) -> Result<PathBuf> {
    let arguments = ["build", "--release", "--locked", "-p", "conduit-proxy", "--bench", "instructions"];
    if !log.run(&mut cargo(&arguments), |_| false)? {
        bail!("crates/proxy/benches/instructions.rs does not build");
    }
    let messages = output(cargo(&arguments).args(["--quiet", "--message-format=json"]))?;
    let mut executable = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_bench = message["target"]["name"] == "instructions";
        message["executable"].as_str().filter(|_| is_bench).map(PathBuf::from)
    });
    executable.next_back().context("cargo names no executable of the bench")
}

/// Instructions of the whole process.
fn instructions(program: &Path, step: &str, times: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let run = valgrind.args([step, &times.to_string()]).output().context("cannot run valgrind")?;
    let said = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        bail!("{step} under valgrind failed: {said}");
    }
    collected(&said).with_context(|| format!("valgrind does not say what it counted: {said}"))
}

/// The count in callgrind's last words, such as `==12== Collected : 123456`.
fn collected(said: &str) -> Option<u64> {
    let (_, count) = said.lines().find(|line| line.contains("Collected"))?.rsplit_once(':')?;
    count.trim().parse().ok()
}

#[cfg(test)]
#[path = "instructions_tests.rs"]
mod tests;
