//! `conduit local exec`: lends this command's terminal to a command in a pod, hands signals on, and ends with its exit code.

use std::io;
use std::os::fd::AsFd;

use conduit_testbed::client::{Client, Running};
use conduit_testbed::spec::{Exec, Spec};
use tokio::signal::unix::{SignalKind, signal};

use super::failure;
use crate::args::LocalExec;
use crate::block_on;
use crate::output::{Exit, Failure};

/// Runs the verb.
///
/// # Errors
/// When the command cannot be started, or ended with another code than 0: that code.
pub(super) fn run(args: LocalExec, client: &Client) -> Result<(), Failure> {
    let command = request(args);
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let running = client.exec(&command, streams).map_err(|error| failure(&error))?;
    block_on(wait(running))
}

fn request(args: LocalExec) -> Exec {
    // A workload's defaults are those of a command: this environment, this directory.
    let mut spec = Spec::new("exec", args.command);
    for (name, value) in &args.env {
        spec = spec.env(name, value);
    }
    let cwd = args.cwd.map(|cwd| std::path::absolute(&cwd).unwrap_or(cwd));
    Exec {
        target: args.target,
        command: spec.command,
        env: spec.env,
        cwd: cwd.unwrap_or(spec.cwd),
        user: args.user,
    }
}

async fn wait(running: Running) -> Result<(), Failure> {
    let mut signals =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()]
            .map(|kind| signal(kind).ok().map(|signal| (kind, signal)));
    let waiting = running.clone();
    let ended = tokio::task::spawn_blocking(move || waiting.wait());
    tokio::pin!(ended);
    let [interrupt, terminate, hangup, quit] = &mut signals;
    loop {
        let signal = tokio::select! {
            ended = &mut ended => return code(ended),
            signal = received(interrupt) => signal,
            signal = received(terminate) => signal,
            signal = received(hangup) => signal,
            signal = received(quit) => signal,
        };
        // If the supervisor is gone, `ended` says so at once.
        drop(running.signal(signal));
    }
}

async fn received(signal: &mut Option<(SignalKind, tokio::signal::unix::Signal)>) -> i32 {
    match signal {
        Some((kind, signal)) => {
            signal.recv().await;
            kind.as_raw_value()
        }
        None => std::future::pending().await,
    }
}

fn code(
    ended: Result<Result<i32, conduit_testbed::client::Error>, tokio::task::JoinError>,
) -> Result<(), Failure> {
    match ended {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(code)) => Err(Failure::Silent(Exit::Of(u8::try_from(code).unwrap_or(u8::MAX)))),
        Ok(Err(error)) => Err(failure(&error)),
        Err(error) => Err(Failure::problem(format!("cannot wait for the command: {error}"), "")),
    }
}
