//! The proxy's process: reads its arguments and runs the proxy, or one of the steps before it: the redirect rules of its pod, or the check that they are there.

use std::process::ExitCode;

use clap::Parser;
use conduit_process::{logs, memory};
use conduit_proxy::config::{Arguments, Command};
use conduit_proxy::{redirection, start, validate};

fn main() -> ExitCode {
    memory::settle();
    let outcome = match Arguments::parse().command {
        Command::Run(run) => {
            let print = run.print_config;
            logs::init(&run.log, run.log_format()).map_err(Into::into).and_then(|logs| {
                match (*run).into_config()? {
                    config if print => {
                        println!("{:#}", config.describe());
                        Ok(())
                    }
                    config => start::run(config, logs),
                }
            })
        }
        Command::Init(init) => redirection::run(&init),
        Command::Validate(validate) => validate::run(&validate),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be there yet, and whoever started us reads the last line.
            eprintln!("conduit-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
