//! The init step of a pod whose redirect rules are written from outside of it, by the CNI plugin on its node: it waits until redirection
//! works, and fails the pod's start when it does not come to work, so that no application runs beside its proxy and not behind it.
//! It needs no right. Deliberately absent: mending. The agent on the node sees this process wait and writes the rules.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::config::ValidateArguments;
use crate::tcp::listen;

/// Between two tries: the agent looks for waiting pods once a second.
const PAUSE: Duration = Duration::from_millis(250);
/// What is redirected is answered by this very process, so at once.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// Addresses that nobody has (RFC 5737, section 3; RFC 6666): only the redirect rules can make one answer.
const NOWHERE_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const NOWHERE_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1));

/// Waits until connections of this network namespace are redirected to the proxy's port, in each family of the pod's addresses.
///
/// # Errors
/// When they are not in time.
pub fn run(arguments: &ValidateArguments) -> Result<()> {
    let skipped = |port: &u16| arguments.skip_outbound_ports.iter().any(|range| range.contains(port));
    let Some(port) = (1..=u16::MAX).find(|port| !skipped(port)) else {
        eprintln!("conduit-proxy: every outbound port is skipped: there is nothing to validate");
        return Ok(());
    };
    let listener = listen::bind_std(arguments.outbound_port)
        .with_context(|| format!("listening on port {}", arguments.outbound_port))?;
    let began = Instant::now();
    let mut waits = false;
    loop {
        let checked = arguments.pod_ips.iter().try_for_each(|ip| check(&listener, nowhere(*ip, port)));
        let Err(error) = checked else { return Ok(()) };
        if began.elapsed() >= arguments.timeout {
            bail!(
                "connections of this pod are not redirected to its proxy ({error:#}). The CNI plugin has not run for this pod, and \
                 conduit-cni has not mended it: see the pod conduit-cni of this pod's node in the namespace conduit"
            );
        }
        if !waits {
            eprintln!("conduit-proxy: waiting for this pod's redirect rules: {error:#}");
            waits = true;
        }
        thread::sleep(PAUSE);
    }
}

fn nowhere(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(if ip.to_canonical().is_ipv4() { NOWHERE_V4 } else { NOWHERE_V6 }, port)
}

/// Whether a connection to there comes here, and says where it was meant to go.
fn check(listener: &TcpListener, to: SocketAddr) -> Result<()> {
    let _stream =
        TcpStream::connect_timeout(&to, CONNECT_TIME).with_context(|| format!("connecting to {to}"))?;
    loop {
        match listener.accept() {
            // One that an earlier try gave up on may come first.
            Ok((arrived, _)) if conduit_redirect::original_dst(&arrived)? != to => {}
            Ok(_) => return Ok(()),
            Err(error) => {
                ensure!(error.kind() == io::ErrorKind::WouldBlock, "accepting a connection: {error}");
                bail!("somebody else answered at {to}");
            }
        }
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
