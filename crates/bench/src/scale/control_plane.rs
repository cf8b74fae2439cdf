//! The controller as a process of ours: started, asked whether it is ready, killed as a crash does it, and looked at from outside
//! (`/proc`). It reads the cluster with the operator's kubeconfig and keeps its Secret and Lease in a namespace of its own, so that one
//! that is installed stays as it is.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conduit_testbed::spec::executable;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::world::OWN_NAMESPACE;
use crate::processes::{self, Usage};

/// Where proxies are served.
pub(crate) const GRPC: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 28_086);
/// Where it says whether it is ready.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 29_991);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(10);
/// How long it may take to be ready.
const READY_TIME: Duration = Duration::from_secs(300);

/// The controller.
pub(crate) struct ControlPlane {
    process: Child,
    /// When it was started.
    started: Instant,
}

impl ControlPlane {
    /// Starts it. Its log is added to a file in `dir`.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let program = executable("conduit-controller");
        let log = fs::File::options().create(true).append(true).open(dir.join("controller.log"))?;
        let mut command = Command::new(&program);
        command.args(["run", "--source=kubernetes", "--pod-name=scale"]);
        command.arg(format!("--namespace={OWN_NAMESPACE}"));
        command.arg(format!("--grpc-addr={GRPC}")).arg(format!("--admin-addr={ADMIN}"));
        command.arg(format!("--operator-socket={}", dir.join("operator").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self { process, started: Instant::now() })
    }

    /// Waits until it says that it is ready; how long that took since its start.
    pub(crate) async fn ready(&mut self) -> Result<Duration> {
        while !get("/ready").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("the controller has ended ({status}); its log says why");
            }
            ensure!(self.started.elapsed() < READY_TIME, "the controller is not ready within {READY_TIME:?}");
            tokio::time::sleep(POLL).await;
        }
        Ok(self.started.elapsed())
    }

    /// Kills it as a crash does, and returns when it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string())
    }

    /// What it uses.
    pub(crate) fn usage(&self) -> Result<Usage> {
        processes::usage(&self.proc()).context("the controller has ended; its log says why")
    }

    /// The most resident memory since its start.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(self.proc().join("status"))?;
        processes::memory_bytes(&status, "VmHWM:").context("the kernel does not say VmHWM")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        _ = self.kill();
    }
}

/// Asks its admin port.
async fn get(path: &str) -> Result<String> {
    let mut socket = TcpStream::connect(ADMIN).await?;
    socket
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: scale\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}
