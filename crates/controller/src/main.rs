//! The controller's process: reads its arguments and runs.

use std::process::ExitCode;

use clap::Parser;
use conduit_controller::config::{Arguments, Command};
use conduit_controller::start;
use conduit_process::logs::{self, Format};

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Run(run) = Arguments::parse().command;
    let outcome = match logs::init(&run.log, Format::Text) {
        Ok(logs) => Box::pin(start::run(run, logs)).await,
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conduit-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}
