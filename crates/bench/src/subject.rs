//! What is measured: a client pod and a server pod with nothing between them, with Conduit, or with another proxy that a script
//! starts in both. The script's contract is in `Subject::start_script`. Deliberately absent: knowledge of any other proxy.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use conduit_testbed::client::{Client, Running};
use conduit_testbed::spec::Spec;

use crate::load::Kind;
use crate::local::{self, begin, environment, path_only};
use crate::processes::{Usage, pod_processes, proxies_of};
use crate::report::DIRECT;

/// Where the server serves each kind, and what its port is said to speak.
pub(crate) const SERVICES: [(Kind, u16, &str); 4] = [
    (Kind::Http, 8080, "http"),
    (Kind::Grpc, 8081, "grpc"),
    (Kind::Echo, 8082, "tcp"),
    (Kind::Bulk, 8083, "tcp"),
];
/// What is added to a service's port where another proxy's client side listens, on loopback.
pub(crate) const CLIENT_PORT_OFFSET: u16 = 10_000;
/// What is added to a service's port where another proxy's server side takes TLS.
pub(crate) const SERVER_PORT_OFFSET: u16 = 20_000;
/// How long a pod may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The line on its standard output with which a script says that its proxy is ready.
pub(crate) const READY_LINE: &str = "ready";

/// Two pods, and what is between them.
pub(crate) struct Subject {
    /// `direct`, `conduit`, or the other proxy's name.
    pub(crate) name: String,
    script: Option<PathBuf>,
    /// Keeps another proxy running: a command ends when its last handle is dropped.
    proxies: Vec<(Running, BufReader<PipeReader>)>,
}

impl Subject {
    /// Without any proxy, with Conduit, or with what `script` starts.
    pub(crate) fn new(name: &str, script: Option<PathBuf>) -> Self {
        Self { name: name.to_owned(), script, proxies: Vec::new() }
    }

    /// Whether it is Conduit, or has no proxy: names of services work as in the mesh.
    pub(crate) fn is_ours(&self) -> bool {
        self.script.is_none()
    }

    /// The client's workload.
    pub(crate) fn client(&self) -> String {
        format!("client-{}", self.name)
    }

    /// The server's workload.
    pub(crate) fn server(&self) -> String {
        format!("server-{}", self.name)
    }

    /// Where the client sends this kind.
    pub(crate) fn target(&self, kind: Kind) -> String {
        let served = if matches!(kind, Kind::Http2 | Kind::Stream) { Kind::Grpc } else { kind };
        let port = SERVICES.iter().find(|(k, ..)| *k == served).map_or(0, |(_, port, _)| *port);
        match self.script {
            Some(_) => format!("127.0.0.1:{}", port + CLIENT_PORT_OFFSET),
            None => format!("{}:{port}", self.server()),
        }
    }

    /// Starts both pods and what is between them. `keys` holds certificates for another proxy.
    pub(crate) fn start(&mut self, world: &Client, executable: &Path, keys: &Path) -> anyhow::Result<()> {
        let unmeshed = self.name == DIRECT || !self.is_ours();
        for workload in [self.server(), self.client()] {
            let mut command = vec![executable.display().to_string(), "serve".to_owned()];
            let mut spec = Spec::new(&workload, command.clone());
            if workload == self.server() {
                for (kind, port, protocol) in SERVICES {
                    command.push(format!("{}={port}", argument(kind)));
                    spec = spec.port(port, protocol);
                }
            }
            spec.command = command;
            spec.env = environment(&workload);
            if unmeshed {
                spec = spec.unmeshed();
            }
            let warning = world.run(spec, READY_TIMEOUT)?;
            ensure!(warning.is_none(), "{workload} is not as it should be: {}", warning.unwrap_or_default());
        }
        if let Some(script) = self.script.clone() {
            self.start_script(world, &script, executable, keys)?;
        }
        Ok(())
    }

    /// Starts another proxy on both sides: SCRIPT runs in the pod and stays there until it is killed; it prints a line `ready`.
    /// Its environment: `ROLE` (`server` or `client`), `PORTS` (`8080:http 8081:grpc …`), `PEER` (the server pod's address),
    /// `CERT`, `KEY` and `CA` (PEM files; the certificate is good for both sides and the name `bench`), `DIR` (for its own
    /// files), `BENCH` (this program).
    /// The server's side takes TLS on port + 20,000 and hands it to the port on loopback; the client's side takes plain TCP or
    /// HTTP on 127.0.0.1, port + 10,000, and sends it over mutual TLS to the peer's port + 20,000.
    fn start_script(
        &mut self,
        world: &Client,
        script: &Path,
        executable: &Path,
        keys: &Path,
    ) -> anyhow::Result<()> {
        let ps = world.ps()?;
        let server = ps.workload(&self.server()).and_then(|server| server.pods.first()?.ips.first().copied());
        let peer = server.with_context(|| format!("{} has no address", self.server()))?.to_string();
        let ports = SERVICES.map(|(_, port, protocol)| format!("{port}:{protocol}")).join(" ");
        for role in ["server", "client"] {
            let dir = keys.join(format!("{}-{role}", self.name));
            std::fs::create_dir_all(&dir)?;
            let mut env = path_only();
            let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
            set("ROLE", role.to_owned());
            set("PORTS", ports.clone());
            set("PEER", peer.clone());
            for (name, file) in [("CERT", "cert.pem"), ("KEY", "key.pem"), ("CA", "ca.pem")] {
                set(name, keys.join(file).display().to_string());
            }
            set("DIR", dir.display().to_string());
            set("BENCH", executable.display().to_string());
            let target = if role == "server" { self.server() } else { self.client() };
            let (running, mut output) = begin(world, &target, vec![script.display().to_string()], env)?;
            let mut line = String::new();
            while output.read_line(&mut line)? > 0 && line.trim() != READY_LINE {
                line.clear();
            }
            if line.trim() != READY_LINE {
                bail!("{} ended with exit code {} before it was ready", script.display(), running.wait()?);
            }
            self.proxies.push((running, output));
        }
        Ok(())
    }

    /// Has all that runs in both pods scheduled in real time, or as usual again.
    pub(crate) fn schedule(&self, real_time: bool) -> anyhow::Result<()> {
        for workload in [self.client(), self.server()] {
            pod_processes(&workload)?.iter().try_for_each(|process| local::schedule(process, real_time))?;
        }
        Ok(())
    }

    /// What the client's and the server's proxy use.
    pub(crate) fn usage(&self) -> anyhow::Result<[Usage; 2]> {
        Ok([proxies_of(&self.client())?, proxies_of(&self.server())?])
    }
}

/// The word for a kind on the command line.
pub(crate) const fn argument(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "http",
        Kind::Http2 => "http2",
        Kind::Grpc => "grpc",
        Kind::Stream => "stream",
        Kind::Echo => "echo",
        Kind::Bulk => "bulk",
    }
}
