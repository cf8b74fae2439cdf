//! `conduit demo` and the hidden `conduit demo-app`: the arguments and the failures only. The application, the world around it and
//! the live table are the testbed's.

use conduit_testbed::demo::{self, Options};

use crate::args::{Connection, Demo, DemoApp};
use crate::local;
use crate::output::{Failure, Format};

/// Runs the demo until it is interrupted or its time is over.
///
/// # Errors
/// When the local world cannot be started, or the demo fails.
pub(crate) fn run(args: &Demo, connection: &Connection) -> Result<(), Failure> {
    let options = Options {
        pods: args.pods.unwrap_or_else(|| Options::default().pods),
        duration: args.duration,
        json: args.output.format == Format::Json,
        dir: connection.local_dir.clone(),
    };
    if options.pods == 0 || options.pods > demo::PODS_MAX {
        let what = format!("--pods {} cannot be done", options.pods);
        return Err(Failure::usage(what, format!("write a number from 1 to {}", demo::PODS_MAX)));
    }
    demo::run(&options).map_err(|error| failure(&error))
}

/// Runs one role of the application, in its pod.
///
/// # Errors
/// When the role fails.
pub(crate) fn app(args: &DemoApp) -> Result<(), Failure> {
    demo::app::run(&args.role, &args.arguments).map_err(|error| failure(&error))
}

fn failure(error: &anyhow::Error) -> Failure {
    let client = error.chain().find_map(|cause| cause.downcast_ref::<conduit_testbed::client::Error>());
    match client {
        Some(client) => local::failure(client),
        None => Failure::problem(format!("{error:#}"), ""),
    }
}
