//! The agent of a node: once a second it sees to the plugin's place and to the pods that wait, until it is told to end. What it finds wrong
//! it says once, and tries again: there is no state of a node in which it gives up.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::node::Node;
use crate::pods::Pods;
use crate::removal::ApiServer;

/// Between two looks: what a pod waits at most that the plugin has missed. A look takes about a millisecond for a hundred processes.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until SIGTERM. Then the plugin is taken off the node if Conduit is being removed, and stays otherwise: the pods that start until
/// the next agent is there need it.
///
/// # Errors
/// When it cannot hear signals.
pub(crate) fn run(node: &Node, api_server: Option<&ApiServer>) -> Result<()> {
    let mut told = SigSet::empty();
    told.add(Signal::SIGTERM);
    told.add(Signal::SIGINT);
    told.thread_block().context("blocking signals")?;
    let signals = SignalFd::with_flags(&told, SfdFlags::SFD_CLOEXEC).context("hearing signals")?;
    let pause = PollTimeout::try_from(EVERY).unwrap_or(PollTimeout::MAX);
    let (mut place, mut pods) = (Said::default(), Pods::default());
    loop {
        place.say(node.install());
        for line in pods.mend().unwrap_or_else(|error| vec![format!("pods are not mended: {error:#}")]) {
            say(&line);
        }
        let mut heard = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut heard, pause), Ok(1..)) {
            break;
        }
    }
    match api_server.map(ApiServer::says_removed) {
        Some(Ok(true)) => {
            node.remove()?;
            say("Conduit is being removed: plugin and entry are off the node");
        }
        Some(Ok(false)) => say("told to end: the plugin stays, for the next agent"),
        Some(Err(error)) => say(&format!(
            "told to end: the plugin stays, for the API server does not say whether Conduit is being removed ({error:#}); \
             `conduit-cni remove` takes it off the node"
        )),
        None => say("told to end: the plugin stays; `conduit-cni remove` takes it off the node"),
    }
    Ok(())
}

/// What was said last of something that is looked at again and again.
#[derive(Default)]
struct Said(String);

impl Said {
    fn say(&mut self, outcome: Result<Vec<String>>) {
        let text = outcome.map_or_else(|error| format!("{error:#}"), |done| done.join("; "));
        if text != self.0 && !text.is_empty() {
            say(&text);
        }
        self.0 = text;
    }
}

fn say(line: &str) {
    eprintln!("conduit-cni: {line}");
}
