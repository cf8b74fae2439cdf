//! `cargo xtask`: the repository's habits, one sub-command each. Run without one, it lists them.
//! It stays light, so that starting it costs no build worth mentioning: no crate of Conduit's, no async runtime.
//! Deliberately absent: anything a user of Conduit needs; that belongs to `conduit`.

mod cluster;
mod cluster_parts;
mod command;
mod demo;
mod docs;
mod earlier;
mod fuzz;
mod images;
mod instructions;
mod readme;
mod scale;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

/// The habits of this repository. `cargo xtask HABIT --help` says more of each.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    habit: Option<Habit>,
}

#[derive(Subcommand)]
enum Habit {
    /// The style as a test: file sizes, headers, banned calls, bounds, directions between crates (under 2 s)
    Tidy,
    /// Formatting, clippy and rustdoc with warnings refused, and dependencies' licences
    Lint,
    /// Every test there is, from the style to end to end; ends with `N passed, N failed`
    Test(test::Options),
    /// Build the fuzz targets and run one, or all of them for a few seconds each (--smoke)
    Fuzz(fuzz::Options),
    /// Build the release binaries and run the benchmark; quiet the machine first
    Bench(demo::Passed),
    /// Build the release binaries and keep a mesh under load for an hour, or --for 10m; fails on any error; quiet the machine first
    Soak(demo::Passed),
    /// Measure the memory of proxies in pods of the Kubernetes cluster that runs, with Conduit installed in it, as root
    Pods(demo::Passed),
    /// Measure the control plane with thousands of services and proxies on a cluster of its own, as root
    Scale(scale::Options),
    /// Count the instructions of each step of a request by callgrind, and hold them against those on record; --pair: of both proxies
    Instructions(instructions::Options),
    /// Build the release binaries and run `conduit demo` (about 10 minutes when nothing is built)
    Demo(demo::Passed),
    /// A real Kubernetes cluster on this machine, as root: build, up, down, status, kubectl, run, in, import, kill, start
    Cluster(cluster::Options),
    /// Container images of Conduit in target/images, without an engine: static, reproducible, with licences and an SBOM
    Images(images::Options),
    /// Write the generated pages of docs/, or compare them (--check)
    Docs(docs::Options),
    /// What CI runs: the same as `test`
    Ci,
    /// Install what the end-to-end tests drive: Debian packages (as root), Go load generators, cargo-deny
    InstallTools,
}

fn main() -> ExitCode {
    match run(Arguments::parse().habit) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the habit found nothing wrong.
fn run(habit: Option<Habit>) -> Result<bool> {
    match habit {
        None => Arguments::command().print_help().map(|()| true).map_err(Into::into),
        Some(Habit::Tidy) => tidy::run(),
        Some(Habit::Lint) => test::run(&test::Options::lint()),
        Some(Habit::Test(options)) => test::run(&options),
        Some(Habit::Ci) => test::run(&test::Options::default()),
        Some(Habit::Fuzz(options)) => fuzz::run(&options),
        Some(Habit::Bench(passed)) => demo::bench("run", &passed),
        Some(Habit::Soak(passed)) => demo::bench("soak", &passed),
        Some(Habit::Pods(passed)) => cluster::pods(&passed),
        Some(Habit::Scale(options)) => scale::run(&options),
        Some(Habit::Instructions(options)) => instructions::run(&options),
        Some(Habit::Demo(passed)) => demo::run(&passed),
        Some(Habit::Cluster(options)) => cluster::run(&options),
        Some(Habit::Images(options)) => images::run(&options).map(|()| true),
        Some(Habit::Docs(options)) => docs::run(&options),
        Some(Habit::InstallTools) => tools::install_all().map(|()| true),
    }
}
