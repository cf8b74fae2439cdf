//! How long a proxy takes from its start until it is ready: the real program, started again and again in a pod without one, with a token
//! that the controller takes, so that a certificate is to be had at once. It runs in the pod. Deliberately absent: what comes before, a
//! container's start and the kubelet's looking.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conduit_logic::ports::PROXY_ADMIN;
use conduit_testbed::spec::executable;
use serde::{Deserialize, Serialize};

use crate::report::median;

/// How often readiness is asked for: a hundredth of what is wanted of it.
const POLL: Duration = Duration::from_micros(100);
/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(30);
/// What a proxy's log says when it has its certificate.
const CERTIFICATE: &str = "certificate installed";

/// What was found, in milliseconds: medians, and the longest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Starts {
    /// How often it was started.
    pub(crate) times: usize,
    /// From the start until the certificate was there.
    pub(crate) certificate_ms: f64,
    /// From then until it was ready.
    pub(crate) after_certificate_ms: f64,
    /// The longest of these.
    pub(crate) after_certificate_max_ms: f64,
    /// From the start until it was ready.
    pub(crate) ready_ms: f64,
    /// The longest of these.
    pub(crate) ready_max_ms: f64,
}

/// Starts the proxy so often, with this process's environment, and prints one JSON document.
pub(crate) fn print(times: usize) -> Result<()> {
    let measured = (0..times).map(|_| once()).collect::<Result<Vec<_>>>()?;
    println!("{}", serde_json::to_string(&Starts::of(&measured))?);
    Ok(())
}

impl Starts {
    /// Of the times until certificate and readiness.
    fn of(measured: &[(Duration, Duration)]) -> Self {
        let ms = |of: fn(&(Duration, Duration)) -> Duration| {
            measured.iter().map(|times| of(times).as_secs_f64() * 1e3).collect::<Vec<_>>()
        };
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let ready = ms(|(_, ready)| *ready);
        // The line of the log may be read later than the answer.
        let after = ms(|(certificate, ready)| ready.saturating_sub(*certificate));
        Self {
            times: measured.len(),
            certificate_ms: median(ms(|(certificate, _)| *certificate)),
            after_certificate_max_ms: most(&after),
            after_certificate_ms: median(after),
            ready_max_ms: most(&ready),
            ready_ms: median(ready),
        }
    }
}

/// Starts it once and ends it: how long until it had its certificate, and until it was ready.
fn once() -> Result<(Duration, Duration)> {
    let program = executable("conduit-proxy");
    let mut command = Command::new(&program);
    command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut proxy = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    let log = proxy.stderr.take().context("it has no log")?;
    let (sender, certificate) = mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if line.contains(CERTIFICATE) {
                _ = sender.try_send(begun.elapsed());
            }
        }
    });
    let ready = wait_until_ready(begun);
    let certificate = certificate.recv_timeout(START_MAX);
    proxy.kill()?;
    proxy.wait()?;
    _ = reader.join();
    Ok((certificate.context("its log does not say that it has a certificate")?, ready?))
}

fn wait_until_ready(begun: Instant) -> Result<Duration> {
    loop {
        if is_ready().unwrap_or(false) {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < START_MAX, "the proxy is not ready within {START_MAX:?}");
        std::thread::sleep(POLL);
    }
}

fn is_ready() -> std::io::Result<bool> {
    let mut admin = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_ADMIN)))?;
    admin.write_all(b"GET /ready HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    admin.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
