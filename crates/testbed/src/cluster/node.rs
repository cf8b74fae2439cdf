//! A node: namespaces for network, mounts, processes, host name and IPC, under one process 1 that dies with everything in them. Depends on
//! util-linux (`unshare`, `nsenter`, `setsid`) and iproute2. Deliberately absent: what runs in a node (`control_plane`, `kubelet`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::addresses::Families;
use super::machine;
use super::parts::{NETWORK_PLUGINS, Parts};

/// What process 1 of a node does first.
const SCRIPT: &str = include_str!("../../cluster/node.sh");
/// How long a node's namespaces may take to be there.
const NODE_TIME: Duration = Duration::from_secs(20);
/// How long a process may take to end once it was told.
const END_TIME: Duration = Duration::from_secs(30);
/// The link between nodes: a bridge in node 1's namespace.
const BRIDGE: &str = "nodes";
/// The network plugins that a node's pods use; a test may put another into the node's folder.
const PLUGINS: [&str; 4] = ["bridge", "host-local", "portmap", "loopback"];

/// The folders of a node: what its standard paths are bound to, and the writable layers over /etc and /var.
const FOLDERS: [&str; 9] =
    ["kubelet", "containerd", "net.d", "bin", "pods", "etc", "etc.work", "var", "var.work"];

/// A node of the cluster.
#[derive(Debug, Clone)]
pub struct Node {
    number: u8,
    dir: PathBuf,
    holder: u32,
}

impl Node {
    /// The node's namespaces, with nothing running in them.
    pub(crate) fn create(number: u8, dir: &Path, parts: &Parts) -> Result<Self> {
        for folder in FOLDERS {
            let path = dir.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        for plugin in PLUGINS {
            fs::copy(Path::new(NETWORK_PLUGINS).join(plugin), dir.join("bin").join(plugin))
                .with_context(|| format!("cannot copy the network plugin {plugin}"))?;
        }
        machine::make_cgroups(&cgroup_of(dir, number))?;
        let script = dir.join("node.sh");
        fs::write(&script, SCRIPT)?;
        let log = File::create(dir.join("node.log"))?;
        let name = format!("node{number}");
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc"]);
        unshare.args(["--propagation", "private", "sh"]).arg(&script).arg(dir).arg(&name);
        unshare.arg(parts.program("pause")).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut unshare, 0);
        let mut outer = unshare.spawn().context("cannot run unshare")?;
        let ready = dir.join("ready");
        machine::wait(&format!("{name} is there"), NODE_TIME, || {
            if let Some(status) = outer.try_wait()? {
                bail!("{status}: {}", fs::read_to_string(dir.join("node.log")).unwrap_or_default().trim());
            }
            ensure!(ready.exists(), "see {}", dir.join("node.log").display());
            Ok(())
        })?;
        let holder = *machine::children(outer.id()).first().context("the node's process 1 is gone")?;
        // Takes the exit status when the node has ended; ends with it.
        std::thread::spawn(move || outer.wait());
        Ok(Self { number, dir: dir.to_owned(), holder })
    }

    /// A node that is there already.
    pub(crate) fn at(number: u8, dir: &Path, holder: u32) -> Self {
        Self { number, dir: dir.to_owned(), holder }
    }

    /// The number, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The name in Kubernetes.
    pub fn name(&self) -> String {
        format!("node{}", self.number)
    }

    /// The name of its cgroup in every hierarchy.
    pub(crate) fn cgroup(&self) -> String {
        cgroup_of(&self.dir, self.number)
    }

    /// The folder with the node's files and logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Process 1 of the node, as this machine numbers it: when it is killed, the node is, with all its pods.
    pub fn holder(&self) -> u32 {
        self.holder
    }

    /// A command in all of the node's namespaces: it sees the node's files, processes and network.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.to_string(), "-m", "-n", "-p", "-u", "-i"]);
        command.arg("--wdns=/").arg("--").arg(program);
        command
    }

    /// A command in the node's network alone: it sees this machine's files and processes.
    pub fn network_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.to_string(), "-n", "--"]).arg(program);
        command
    }

    /// Starts a program that goes on by itself, as a child of the node's process 1. Its output is added to `NAME.log`.
    pub(crate) fn start(&self, name: &str, command: &[String]) -> Result<()> {
        let log = self.log(name);
        let mut daemon = self.command("setsid");
        daemon.args(["--fork", "sh", "-c", "log=$1; shift; exec \"$@\" >> \"$log\" 2>&1 < /dev/null", "sh"]);
        daemon.arg(&log).args(command);
        run(&mut daemon).with_context(|| format!("cannot start {name} in {}", self.name()))?;
        Ok(())
    }

    /// Where a component's output is.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// The processes of this program in the node, as this machine numbers them.
    pub fn processes(&self, program: &str) -> Vec<u32> {
        machine::processes_beside(self.holder, Some(program))
    }

    /// Sends the signal to the program and waits until it has ended.
    pub(crate) fn stop(&self, program: &str, signal: Signal) -> Result<()> {
        let processes = self.processes(program);
        ensure!(!processes.is_empty(), "{program} does not run in {}", self.name());
        for pid in &processes {
            kill(Pid::from_raw(pid.cast_signed()), signal)
                .with_context(|| format!("cannot signal {program}"))?;
        }
        machine::wait(&format!("{program} has ended"), END_TIME, || {
            ensure!(processes.iter().all(|pid| machine::has_ended(*pid)), "it still runs");
            Ok(())
        })
    }

    /// Ends the node and everything in it.
    pub(crate) fn destroy(&self) -> Result<()> {
        let beside = machine::processes_beside(self.holder, None);
        if !beside.is_empty() {
            // Its namespace's process 1: the kernel kills the others with it.
            kill(Pid::from_raw(self.holder.cast_signed()), Signal::SIGKILL)
                .context("cannot kill the node")?;
        }
        machine::wait(&format!("{} has ended", self.name()), END_TIME, || {
            let left = beside.iter().filter(|pid| machine::start_of(**pid).is_some()).count();
            ensure!(left == 0, "{left} processes are left");
            Ok(())
        })?;
        machine::remove_cgroups(&self.cgroup())
    }
}

fn cgroup_of(dir: &Path, number: u8) -> String {
    machine::cgroup(dir.parent().unwrap_or(dir), number)
}

/// Gives the nodes their addresses, a link between them, and routes to each other's pods. Nothing leads out of them.
pub(crate) fn connect(nodes: &[Node], families: Families) -> Result<()> {
    let Some((first, others)) = nodes.split_first() else { return Ok(()) };
    for node in nodes {
        let mut settings = node.command("sysctl");
        settings.args(["-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        settings.args(["net.bridge.bridge-nf-call-iptables=1", "net.bridge.bridge-nf-call-ip6tables=1"]);
        settings.args(["net.ipv4.conf.all.rp_filter=0", "net.ipv6.conf.default.accept_dad=0"]);
        run(settings.args(["net.ipv6.conf.all.accept_dad=0"]))?;
    }
    ip(first, &format!("link add {BRIDGE} type bridge"))?;
    for other in others {
        let port = format!("to-{}", other.name());
        // In the network namespace alone: the number in `netns` is this machine's.
        let pair = format!("link add {port} type veth peer name eth0 netns {}", other.holder);
        run(first.network_command("ip").args(pair.split(' ')))?;
        ip(first, &format!("link set {port} master {BRIDGE} up"))?;
    }
    for node in nodes {
        let link = if node.number == first.number { BRIDGE } else { "eth0" };
        ip(node, &format!("link set {link} up"))?;
        for (address, first_address) in
            families.node(node.number).into_iter().zip(families.node(first.number))
        {
            let prefix = Families::node_prefix(address);
            let family = family_flag(address);
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            ip(node, &format!("addr add {address}/{prefix} dev {link}{nodad}"))?;
            // Also where nobody is behind it: a service's address must have a route before it is rewritten.
            let via =
                if node.number == first.number { String::new() } else { format!(" via {first_address}") };
            ip(node, &format!("{family} route add default{via} dev {link}"))?;
        }
        for other in nodes.iter().filter(|other| other.number != node.number) {
            for (pods, via) in families.pods_of(other.number).iter().zip(families.node(other.number)) {
                ip(node, &format!("{} route add {pods} via {via}", family_flag(via)))?;
            }
        }
    }
    Ok(())
}

fn family_flag(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}

fn ip(node: &Node, arguments: &str) -> Result<()> {
    run(node.network_command("ip").args(arguments.split(' '))).map(drop)
}

/// Runs a command that must succeed; its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        bail!("{line} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
