//! `conduit-cni`: one program in two places. On the node, the container runtime runs it for each pod, as a network plugin (CNI), to write
//! the redirect rules of the pods that ask for them. In a pod of its own on each node, `conduit-cni agent` keeps the plugin in its place
//! and mends pods that the plugin has missed. Deliberately absent: a runtime of tasks, for nothing here waits for two things at once; and
//! any state on the node but the plugin itself and its entry in the network configuration.

mod config;
mod plugin;
mod redirection;
mod conflist;
mod node;
mod pods;
mod removal;
mod agent;

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use config::{Arguments, Command};

fn main() -> ExitCode {
    if let Some(call) = config::plugin_call() {
        return serve(&call);
    }
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conduit-cni: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers a call of the container runtime: a result or an error, as JSON on stdout.
fn serve(call: &plugin::Call) -> ExitCode {
    let mut input = String::new();
    let read = std::io::stdin().read_to_string(&mut input).map_err(|error| plugin::unreadable(&error));
    match read.and_then(|_| plugin::answer(call, &input)) {
        Ok(result) => {
            if let Some(result) = result {
                println!("{result}");
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{}", failure.to_json(&input));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Agent(folders) => agent::run(&folders.node()?, config::api_server().as_ref()),
        Command::Check(folders) => {
            let missing = folders.node()?.missing()?;
            ensure!(missing.is_empty(), "{}", missing.join("; "));
            Ok(())
        }
        Command::Remove(folders) => folders.node()?.remove(),
    }
}
