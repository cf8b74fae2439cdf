//! `conduit-bench`: servers and an open-loop load generator for HTTP/1.1, gRPC and TCP, and the benchmark that runs them in two
//! pods with and without a proxy. It measures from outside: from the client's clock and from `/proc`, never from what a proxy
//! says of itself, so that another proxy can be put in the same place.

mod floor;
mod handshakes;
mod instructions;
mod load;
mod local;
mod markdown;
mod plot;
mod pods;
mod processes;
mod report;
mod run;
mod samples;
mod scale;
mod serve;
mod soak;
mod start;
mod subject;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures what a proxy costs.
#[derive(Debug, Parser)]
#[command(name = "conduit-bench", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sets up a world, runs every load in it with and without proxies, and writes what it found.
    Run(run::Plan),
    /// Writes the page and the plots of a result anew.
    Render {
        /// Directory with benchmark.json.
        #[arg(default_value = "docs/benchmarks")]
        dir: PathBuf,
    },
    /// Fills the API server that KUBECONFIG names, connects proxies to a controller and measures it.
    Scale(scale::Plan),
    /// Counts the instructions of both proxies per request, by callgrind.
    Instructions(instructions::Plan),
    /// Measures the memory of proxies in pods of the Kubernetes cluster that runs.
    Pods(pods::Plan),
    /// Keeps a world under load for an hour while endpoints, certificates and taps come and go, and says whether all went well.
    Soak(soak::Plan),
    /// Serves the other end of the load, until it is killed.
    Serve(serve::Arguments),
    /// Sends load and prints one JSON document with what came of it.
    Load(load::Arguments),
    /// Starts the proxy that its environment describes again and again, and prints how long it takes until it is ready.
    Start {
        /// How often.
        #[arg(long, default_value_t = 20)]
        times: usize,
    },
    /// Makes TLS handshakes as the proxy that its environment describes, and prints what they cost.
    Handshakes(handshakes::Arguments),
    /// Is the least that a pair of proxies can be: TLS from rustls, and bytes copied. Set up by its environment, as
    /// docs/benchmarks/proxies/README.md says.
    Floor,
    /// Opens HTTP/1.1 connections, uses each once, says so on stdout and holds them until it is killed.
    Hold {
        /// Host and port of the server.
        #[arg(long)]
        to: String,
        /// How many.
        #[arg(long, default_value_t = 1000)]
        connections: usize,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Run(plan) => run::run(&plan),
        Command::Render { dir } => run::render(&dir),
        Command::Scale(plan) => scale::run(&plan),
        Command::Instructions(plan) => instructions::run(&plan),
        Command::Pods(plan) => pods::run(&plan),
        Command::Soak(plan) => soak::run(&plan),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Load(arguments) => load::print(arguments),
        Command::Start { times } => start::print(times),
        Command::Handshakes(arguments) => handshakes::print(&arguments),
        Command::Floor => floor::run(),
        Command::Hold { to, connections } => load::hold(&to, connections),
    }
}
