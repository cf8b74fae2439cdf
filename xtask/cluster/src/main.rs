//! `cargo xtask cluster`, except `build`: the testbed's cluster by hand and for the tests. Depends on the testbed. Deliberately absent: building
//! the cluster's parts, which needs none of Conduit's crates (`xtask`).

mod verbs;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match verbs::run(verbs::Verb::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}
