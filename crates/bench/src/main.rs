//! `conduit-bench`: servers and an open-loop load generator for HTTP/1.1, gRPC and TCP, and the benchmark that runs them in two
//! pods with and without a proxy. It measures from outside: from the client's clock and from `/proc`, never from what a proxy
//! says of itself, so that another proxy can be put in the same place.

mod load;
mod processes;
mod report;
mod samples;
mod serve;
mod subject;
mod run;
mod scale;

use std::time::Duration;

use clap::{Parser, Subcommand};

use load::{Kind, Plan};

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
    /// Fills the API server that KUBECONFIG names, connects proxies to a controller and measures it.
    Scale(scale::Plan),
    /// Serves the other end of the load, until it is killed.
    Serve {
        /// What to serve and on which port of every address, as in http=8080; without any it only waits.
        services: Vec<serve::Service>,
        /// Bytes of each answer (HTTP and gRPC).
        #[arg(long, default_value_t = 1024)]
        bytes: usize,
    },
    /// Sends load and prints one JSON document with what came of it.
    Load {
        /// What to send.
        kind: Kind,
        /// Host and port of the server.
        #[arg(long)]
        to: String,
        /// Requests per second, sent at their time whatever the answers do; 0: as many as the connections take.
        #[arg(long, default_value_t = 0)]
        rate: u32,
        /// How long to send, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Connections (HTTP, TCP); for gRPC calls under way at once when the rate is 0.
        #[arg(long, default_value_t = 16)]
        connections: usize,
        /// Bytes of each TCP message or gRPC request.
        #[arg(long, default_value_t = 128)]
        bytes: usize,
    },
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
        Command::Scale(plan) => scale::run(&plan),
        Command::Serve { services, bytes } => serve::run(&services, bytes),
        Command::Load { kind, to, rate, seconds, connections, bytes } => {
            let plan = Plan { kind, to, rate, duration: Duration::from_secs(seconds), connections, bytes };
            println!("{}", serde_json::to_string_pretty(&load::run(&plan)?)?);
            Ok(())
        }
        Command::Hold { to, connections } => load::hold(&to, connections),
    }
}
