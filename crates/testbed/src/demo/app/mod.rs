//! The demo application: one hidden command, `conduit demo-app ROLE`, each role a process of its own. It knows nothing of the
//! mesh: it calls its peers by service name and port, as any application does. Deliberately absent: TLS, retries, discovery.

mod http1;
mod load;
mod shop;
mod web;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use conduit_process::signal;
use conduit_process::tasks::Tasks;
use tokio::net::TcpListener;
use tokio::signal::unix;

pub use load::Counts;

/// The generated messages, clients and servers of `proto/demo.proto`.
mod wire {
    #![expect(
        unreachable_pub,
        clippy::too_many_lines,
        unused_qualifications,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated; the proto documents it"
    )]
    tonic::include_proto!("conduit.demo.v1");
}

/// A gRPC trailer and an HTTP header: this failure is the application's own. Its value names the workload that failed.
pub const OWN_FAILURE: &str = "demo-failure";

/// How long a stopped role may finish what it has begun.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// One workload of the demo: its name, its port with what it speaks (the load generator has none), and whom it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Name of the role, the workload and the service.
    pub name: &'static str,
    /// Port and protocol, as `conduit local run --port` takes them.
    pub port: Option<(u16, &'static str)>,
}

/// All roles, callees before callers.
pub const ROLES: [Role; 7] = [
    Role { name: "ledger", port: Some((7000, "tcp")) },
    Role { name: "prices", port: Some((9002, "grpc")) },
    Role { name: "voting", port: Some((9003, "grpc")) },
    Role { name: "recommend", port: Some((8081, "http")) },
    Role { name: "catalog", port: Some((9001, "grpc")) },
    Role { name: "web", port: Some((8080, "http")) },
    Role { name: "load", port: None },
];

/// Where the peers are and what else the command line said.
#[derive(Debug, Clone, Default)]
struct Settings {
    /// Addresses of peers that are not at NAME:port.
    peers: BTreeMap<String, String>,
    /// Where to listen, instead of the role's port on all addresses.
    listen: Option<SocketAddr>,
    /// Requests per second of the load generator.
    rate: Option<u32>,
}

impl Settings {
    /// The `host:port` of a peer.
    fn peer(&self, name: &str) -> String {
        let port = ROLES.iter().find(|role| role.name == name).and_then(|role| role.port).map_or(0, |p| p.0);
        self.peers.get(name).cloned().unwrap_or_else(|| format!("{name}:{port}"))
    }

    fn parse(args: &[String]) -> anyhow::Result<Self> {
        let mut settings = Self::default();
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--listen" => settings.listen = Some(value.parse().context("--listen takes ADDRESS:PORT")?),
                "--rate" => {
                    settings.rate = Some(value.parse().context("--rate takes requests per second")?);
                }
                "--peer" => {
                    let (name, addr) = value.split_once('=').context("--peer takes NAME=HOST:PORT")?;
                    settings.peers.insert(name.to_owned(), addr.to_owned());
                }
                _ => bail!("{flag} is not known; there are --listen, --peer and --rate"),
            }
        }
        Ok(settings)
    }
}

/// Runs one role until SIGTERM or SIGINT.
///
/// # Errors
/// When the role or an argument is not known, or its port cannot be had.
pub fn run(role: &str, args: &[String]) -> anyhow::Result<()> {
    let known = ROLES.iter().find(|r| r.name == role);
    let role = known.with_context(|| {
        format!("there is no role {role}; there are {}", ROLES.map(|role| role.name).join(", "))
    })?;
    let settings = Settings::parse(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(role, settings))
}

async fn serve(role: &Role, settings: Settings) -> anyhow::Result<()> {
    let (tasks, terminated) = (Tasks::new(), signal::terminated());
    match role.port {
        None => return generate_load(&settings, &tasks, terminated).await,
        Some((port, _)) => {
            let addr = settings.listen.unwrap_or_else(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
            let listener = listen(addr).await.with_context(|| format!("cannot listen on {addr}"))?;
            start(role.name, listener, &settings, &tasks)?;
        }
    }
    terminated.await;
    tasks.stop();
    tasks.wait(DRAIN_TIMEOUT).await;
    Ok(())
}

/// Generates load until SIGUSR1 ends it; the process stays, so that its proxy can report the last of it.
async fn generate_load(
    settings: &Settings,
    tasks: &Tasks,
    terminated: impl Future<Output = &'static str>,
) -> anyhow::Result<()> {
    let mut ended = unix::signal(unix::SignalKind::user_defined1())?;
    let load = load::start(settings, tasks)?;
    tokio::pin!(terminated);
    let stays = tokio::select! {
        _ = ended.recv() => true,
        _ = &mut terminated => false,
    };
    tasks.stop();
    tasks.wait(DRAIN_TIMEOUT).await;
    load.say(true);
    if stays {
        terminated.await;
    }
    Ok(())
}

fn start(role: &str, listener: TcpListener, settings: &Settings, tasks: &Tasks) -> anyhow::Result<()> {
    match role {
        "web" => web::start(listener, settings, tasks)?,
        "recommend" => shop::recommend(listener, tasks),
        "ledger" => shop::ledger(listener, tasks),
        "voting" => shop::voting(listener, tasks),
        "prices" => shop::prices(listener, tasks),
        _ => shop::catalog(listener, settings, tasks)?,
    }
    Ok(())
}

/// Listens on IPv6 and IPv4; on IPv4 alone where the machine has no IPv6.
async fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(addr).await {
        Err(_) if addr.ip().is_unspecified() => TcpListener::bind(("0.0.0.0", addr.port())).await,
        bound => bound,
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
