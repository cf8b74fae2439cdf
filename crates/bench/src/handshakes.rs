//! What a handshake costs: with the real proxy at the server's pod, as another proxy makes it, and both ends in memory. Conduit resumes no
//! session (crates/tls says why); what that gives up is shown by its own configuration with resumption turned on, in memory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use conduit_logic::words::Identity;
use conduit_process::ready::Readiness;
use conduit_process::tasks::Tasks;
use conduit_process::usage::cpu_seconds;
use conduit_proxy::config::{self, Command};
use conduit_proxy::identity;
use conduit_proxy::outbound::connect::ALPN_HTTP1;
use conduit_proxy::telemetry::Telemetry;
use conduit_tls::{ClientAuth, Credentials, SERVER_NAME, facts};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::ServerSessionMemoryCache;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use serde::{Deserialize, Serialize};

/// Connections that make handshakes at once: enough that the server's proxy never waits.
const THREADS: usize = 4;
/// How long to wait for the certificate.
const CERTIFICATE_MAX: Duration = Duration::from_secs(10);
/// How long a peer may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Sessions that either end remembers: one is in use at a time.
const SESSIONS_MAX: usize = 16;

/// Whose proxy to shake hands with.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address and port of a pod whose proxy takes handshakes.
    #[arg(long)]
    to: String,
    /// Its identity.
    #[arg(long)]
    expected: String,
    /// Seconds of each kind of handshake.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Handshakes {
    /// The group in which keys were exchanged.
    pub(crate) key_exchange: String,
    /// Handshakes per second of one server's proxy, with its clients on the same CPUs; each on a connection of its own.
    pub(crate) per_second: f64,
    /// CPU time of each in the server's proxy, in µs, connection and its end included. Whoever started this one knows it.
    #[serde(default)]
    pub(crate) server_cpu_us: f64,
    /// And in the client.
    pub(crate) client_cpu_us: f64,
    /// How many there were.
    pub(crate) count: u64,
    /// CPU time of both ends of a handshake in memory, in µs.
    pub(crate) full_us: f64,
    /// The same, when a session is resumed.
    pub(crate) resumed_us: f64,
}

/// Makes them and prints one JSON document.
pub(crate) fn print(Arguments { to, expected, seconds }: &Arguments) -> Result<()> {
    let (tasks, runtime) =
        (Tasks::new(), tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?);
    let credentials = runtime.block_on(certificate(&tasks))?;
    let server = Identity::parse(expected)?;
    let mut found = over_network(to, &credentials.client_config(&server, &[ALPN_HTTP1]), *seconds)?;
    tasks.stop();
    runtime.shutdown_background();

    let own = credentials.identity().context("there is no certificate")?;
    let server = credentials.server_config(ClientAuth::Required, &[ALPN_HTTP1]);
    let client = credentials.client_config(&own, &[ALPN_HTTP1]);
    let time = Duration::from_secs(*seconds);
    found.full_us = in_memory(&client, &server, HandshakeKind::Full, time)?;
    let (client, server) = resuming(&client, &server);
    found.resumed_us = in_memory(&client, &server, HandshakeKind::Resumed, time)?;
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

/// The same ends, but for sessions that they resume.
fn resuming(client: &ClientConfig, server: &ServerConfig) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (mut client, mut server) = (client.clone(), server.clone());
    client.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    server.send_tls13_tickets = 1;
    server.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    (Arc::new(client), Arc::new(server))
}

/// A certificate from the controller, as the proxy gets it, with the proxy's own settings in the environment.
async fn certificate(tasks: &Tasks) -> Result<Credentials> {
    let Command::Run(run) = config::Arguments::try_parse_from(["conduit-proxy", "run"])?.command else {
        bail!("these are no arguments of `run`");
    };
    let settings = Arc::new(run.into_config()?);
    let credentials = Credentials::new(settings.read_trust_anchors()?)?;
    identity::start(&settings, &credentials, tasks, &Readiness::new(), &Telemetry::new());
    let certified = tokio::time::timeout(CERTIFICATE_MAX, credentials.certified()).await;
    ensure!(certified.is_ok(), "no certificate within {CERTIFICATE_MAX:?}");
    Ok(credentials)
}

fn over_network(to: &str, config: &Arc<ClientConfig>, seconds: u64) -> Result<Handshakes> {
    let (until, count) = (Duration::from_secs(seconds), AtomicU64::new(0));
    let key_exchange = one(to, config)?;
    let (begun, before) = (Instant::now(), cpu_seconds());
    std::thread::scope(|scope| {
        let send = || -> Result<()> {
            while begun.elapsed() < until {
                one(to, config)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(send)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })?;
    let count = count.into_inner();
    Ok(Handshakes {
        key_exchange: key_exchange.to_owned(),
        per_second: count as f64 / begun.elapsed().as_secs_f64(),
        client_cpu_us: (cpu_seconds() - before) * 1e6 / count as f64,
        count,
        ..Handshakes::default()
    })
}

/// A connection with a handshake, ended in order, so that the server has taken the client's certificate too; the group of its keys.
fn one(to: &str, config: &Arc<ClientConfig>) -> Result<&'static str> {
    let mut socket = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    let mut session = ClientConnection::new(config.clone(), ServerName::try_from(SERVER_NAME)?)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket).context("the handshake failed")?;
    }
    ensure!(session.handshake_kind() == Some(HandshakeKind::Full), "it was no full handshake");
    let key_exchange = facts(&session).key_exchange;
    session.send_close_notify();
    while session.wants_write() {
        session.write_tls(&mut socket)?;
    }
    socket.flush()?;
    // The server answers with the end.
    socket.read_to_end(&mut Vec::new()).context("the server did not end the connection")?;
    Ok(key_exchange)
}

/// CPU time of both ends of a handshake of this kind, in µs.
fn in_memory(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    kind: HandshakeKind,
    time: Duration,
) -> Result<f64> {
    // The first is never resumed.
    shake_hands(client, server)?;
    let (begun, before, mut count) = (Instant::now(), thread_cpu()?, 0_u32);
    while begun.elapsed() < time {
        let was = shake_hands(client, server)?;
        ensure!(was == kind, "the handshake was {was:?}, not {kind:?}");
        count += 1;
    }
    Ok((thread_cpu()? - before).as_secs_f64() * 1e6 / f64::from(count))
}

fn shake_hands(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<HandshakeKind> {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(SERVER_NAME)?)?;
    let mut server = ServerConnection::new(server.clone())?;
    let mut wire = Vec::new();
    while client.wants_write() || server.wants_write() {
        while client.wants_write() {
            client.write_tls(&mut wire)?;
        }
        server.read_tls(&mut std::mem::take(&mut wire).as_slice())?;
        server.process_new_packets()?;
        while server.wants_write() {
            server.write_tls(&mut wire)?;
        }
        client.read_tls(&mut std::mem::take(&mut wire).as_slice())?;
        client.process_new_packets()?;
    }
    ensure!(!client.is_handshaking() && !server.is_handshaking(), "the handshake did not end");
    server.handshake_kind().context("the server does not say of which kind it was")
}

/// CPU time of this thread: the first field of `/proc/thread-self/schedstat`, in nanoseconds.
fn thread_cpu() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").context("the kernel has no schedstat")?;
    let nanoseconds = text.split_whitespace().next().context("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

#[cfg(test)]
#[path = "handshakes_tests.rs"]
mod tests;
