//! A pod's redirect rules: read from the words in which injection writes them, and written in the pod's network namespace.

use std::fs::File;
use std::ops::RangeInclusive;
use std::panic::resume_unwind;
use std::thread;

use anyhow::{Context, Result};
use conduit_logic::ports;
use conduit_redirect::{Exempt, Rules};
use nix::sched::{CloneFlags, setns};

/// Reads `--skip-inbound-ports 22,30-40 --skip-outbound-ports 3306`, each of which may be absent.
pub(crate) fn rules<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Rules, String> {
    let mut rules = Rules {
        inbound_port: ports::PROXY_INBOUND,
        outbound_port: ports::PROXY_OUTBOUND,
        exempt: Exempt::Uid(ports::PROXY_UID),
        skip_inbound: Vec::new(),
        skip_outbound: Vec::new(),
    };
    let mut words = words.into_iter();
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{flag}` has no value"))?;
        let ranges = value.split(',').map(port_range).collect::<Result<Vec<_>, _>>()?;
        match flag {
            "--skip-inbound-ports" => rules.skip_inbound = ranges,
            "--skip-outbound-ports" => rules.skip_outbound = ranges,
            other => return Err(format!("`{other}` is no setting of redirect rules")),
        }
    }
    Ok(rules)
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from <= to => Ok(from..=to),
        _ => Err(format!("`{text}` is not a port or a range of ports such as 25-30")),
    }
}

/// Writes the rules in a network namespace, unless it has them; whether it had not.
pub(crate) fn ensure(namespace: &File, rules: &Rules) -> Result<bool> {
    inside(namespace, || {
        // What cannot be asked is written: if that is impossible too, its error says why.
        let missing = !matches!(conduit_redirect::is_installed(), Ok(true));
        if missing {
            conduit_redirect::install(rules).context("writing the redirect rules")?;
        }
        Ok(missing)
    })
}

/// Whether a network namespace has redirect rules.
pub(crate) fn is_installed(namespace: &File) -> Result<bool> {
    inside(namespace, || conduit_redirect::is_installed().context("asking for the redirect rules"))
}

/// Runs this in a network namespace: in a thread of its own, which ends there.
fn inside<T: Send>(namespace: &File, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).context("entering the pod's network namespace")?;
            run()
        });
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
#[path = "redirection_tests.rs"]
mod tests;
