//! The `conduit` command line. Modules stand in reading order: what is typed, how the controller is reached, one file per verb,
//! what is printed. `main` starts no thread and no runtime itself: a verb that needs one makes its own, on this thread.

mod args;
mod resource;
mod cluster;
mod connect;
mod stat;
mod edges;
mod top;
mod tap;
mod check;
mod identity;
mod install;
mod inject;
mod version;
mod diagnostics;
mod local;
mod demo;
mod completion;
mod golden;
mod units;
mod output;

use std::process::ExitCode;

use clap::Parser;

use args::{Conduit, Verb};
use output::{Exit, Failure};

fn main() -> ExitCode {
    let args = match Conduit::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help that nobody reads to its end is no failure.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let colour = args.connection.color;
    match run(args) {
        Ok(()) => ExitCode::from(Exit::Ok.code()),
        Err(failure) => {
            output::complain(&failure, colour);
            ExitCode::from(failure.exit().code())
        }
    }
}

fn run(args: Conduit) -> Result<(), Failure> {
    let connection = &args.connection;
    match args.verb {
        Verb::Stat(stat) => block_on(stat::run(stat, connection)),
        Verb::Edges(edges) => block_on(edges::run(edges, connection)),
        Verb::Top(top) => block_on(top::run(top, connection)),
        Verb::Tap(tap) => block_on(tap::run(*tap, connection)),
        Verb::Check(check) => block_on(check::run(check, connection)),
        Verb::Identity(identity) => block_on(identity::run(identity, connection)),
        Verb::Install(args) => install::install(&args),
        Verb::Upgrade(args) => install::upgrade(&args),
        Verb::Uninstall(_) => install::uninstall(),
        Verb::Inject(args) => inject::inject(&args),
        Verb::Uninject(args) => inject::uninject(&args),
        Verb::Version(version) => block_on(version::run(version, connection)),
        Verb::Diagnostics(diagnostics) => block_on(diagnostics::run(diagnostics, connection)),
        Verb::Local(local) => local::run(local.verb, connection),
        Verb::Demo(demo) => demo::run(&demo, connection),
        Verb::DemoApp(app) => demo::app(&app),
        Verb::Completion(completion) => completion::run(&completion),
    }
}

/// Runs a verb that waits for the network, on this thread.
fn block_on(verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::problem(
            format!("cannot start: {error}"),
            "the limit of open files may be too low: see `ulimit -n`",
        )
    })?;
    runtime.block_on(Box::pin(verb))
}
