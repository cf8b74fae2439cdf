//! The one place of this crate with `unsafe`: the fork that makes the supervisor process 1 of new namespaces, and what a child
//! does between fork and exec to enter a pod. Depends on nix and libc. Deliberately absent: what the namespaces are for.

#![expect(unsafe_code, reason = "fork and pre_exec have no safe form")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, fork, getegid, geteuid, setgroups, setresgid, setresuid, setsid,
};
use thiserror::Error;

/// Who is privileged in the world's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Root started it: no user namespace, and several users.
    Root,
    /// A user namespace with a single user: proxies are told apart by a mark.
    Rootless,
}

/// Why the namespaces are not to be had.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel or its configuration does not allow it.
    #[error("this machine does not let you make {what}: {source}\n{hint}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
        /// What to enable.
        hint: String,
    },
    /// Something else went wrong on the way.
    #[error("cannot {what}: {source}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn failed(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Failed { what, source: errno.into() }
}

/// What [`enter`] comes back as.
pub(crate) enum Entered {
    /// Process 1 of the new namespaces.
    Inside(Mode),
    /// The process that made them, when process 1 has ended: its exit code.
    Outside(i32),
}

/// Makes new user (when needed), mount, network, process and host name namespaces and forks process 1 of them. The caller must
/// not have started a thread. The outer process passes SIGTERM and SIGINT on; when it dies in any way, process 1 is killed, and
/// with it everything inside.
pub(crate) fn enter() -> Result<Entered, Error> {
    let mode = unshare_all()?;
    let mut watched = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        watched.add(signal);
    }
    watched.thread_block().map_err(failed("block signals"))?;
    // The inner process reads this pipe until the outer one has told the kernel nothing more: it lets the inner one see an outer
    // process that died before the request below was in force.
    let (alive, alive_write) = nix::unistd::pipe().map_err(failed("make a pipe"))?;
    // SAFETY: the process has one thread (the contract of this function), so the child may go on as if nothing had happened.
    match unsafe { fork() }.map_err(failed("fork"))? {
        ForkResult::Parent { child } => {
            drop(alive);
            nix::unistd::write(&alive_write, b"!").map_err(failed("write to a pipe"))?;
            drop(alive_write);
            wait_for(child, &watched).map(Entered::Outside)
        }
        ForkResult::Child => {
            drop(alive_write);
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
                .map_err(failed("tie this process to its parent"))?;
            if nix::unistd::read(&alive, &mut [0]).unwrap_or(0) == 0 {
                return Err(Error::Failed { what: "start", source: io::ErrorKind::BrokenPipe.into() });
            }
            watched.thread_unblock().map_err(failed("unblock signals"))?;
            own_mounts(mode)?;
            Ok(Entered::Inside(mode))
        }
    }
}

fn unshare_all() -> Result<Mode, Error> {
    let inner = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS;
    if geteuid().is_root() && unshare(inner).is_ok() {
        return Ok(Mode::Root);
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| Error::Refused {
        what: "a user namespace",
        source: e.into(),
        hint: hint(),
    })?;
    // The same numbers inside as outside: what runs in a pod sees itself as the user who started it, with no privilege.
    let map = |file: &str, text: &str| std::fs::write(format!("/proc/self/{file}"), text);
    map("setgroups", "deny")
        .and_then(|()| map("uid_map", &format!("{uid} {uid} 1")))
        .and_then(|()| map("gid_map", &format!("{gid} {gid} 1")))
        .map_err(|source| Error::Refused { what: "a user namespace of your own", source, hint: hint() })?;
    unshare(inner).map_err(|e| Error::Refused {
        what: "network namespaces inside a user namespace",
        source: e.into(),
        hint: hint(),
    })?;
    Ok(Mode::Rootless)
}

/// What to enable, from what the machine's settings say.
fn hint() -> String {
    let setting = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/{name}"))
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok())
    };
    let mut hints = Vec::new();
    if setting("kernel/unprivileged_userns_clone") == Some(0) {
        hints.push("sysctl -w kernel.unprivileged_userns_clone=1");
    }
    if setting("user/max_user_namespaces") == Some(0) {
        hints.push("sysctl -w user.max_user_namespaces=10000");
    }
    if setting("kernel/apparmor_restrict_unprivileged_userns").is_some_and(|value| value != 0) {
        hints.push("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
    }
    if hints.is_empty() {
        return "Start it as root, or enable user namespaces (sysctls kernel.unprivileged_userns_clone=1, \
                user.max_user_namespaces above 0, kernel.apparmor_restrict_unprivileged_userns=0; in a container, its \
                seccomp profile must allow unshare)."
            .to_owned();
    }
    format!("Enable it, as root, with: {}; or start it as root.", hints.join(" && "))
}

fn own_mounts(mode: Mode) -> Result<(), Error> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(failed("make mounts private"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, NONE).map_err(|e| Error::Refused {
        what: "a /proc for the pods",
        source: e.into(),
        hint: match mode {
            Mode::Root => "Start it as root with CAP_SYS_ADMIN.".to_owned(),
            Mode::Rootless => {
                format!("Inside a container, /proc must not be masked (an unconfined or privileged container). {}", hint())
            }
        },
    })
}

/// Waits until `child` has ended, passing signals on to it. Its exit code, or 128 and the signal's number.
fn wait_for(child: Pid, watched: &SigSet) -> Result<i32, Error> {
    loop {
        match watched.wait().map_err(failed("wait for a signal"))? {
            Signal::SIGCHLD => {
                match waitpid(child, Some(WaitPidFlag::WNOHANG)).map_err(failed("wait for the supervisor"))? {
                    WaitStatus::Exited(_, code) => return Ok(code),
                    WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as i32),
                    _ => {}
                }
            }
            signal => {
                // It may have ended meanwhile; the next SIGCHLD tells.
                let _ = kill(child, signal);
            }
        }
    }
}

/// Puts `file` in the place of what is at `path`, for everything in this mount namespace.
pub(crate) fn bind_over(file: &Path, path: &str) -> io::Result<()> {
    const NONE: Option<&str> = None;
    Ok(mount(Some(file), path, NONE, MsFlags::MS_BIND, NONE)?)
}

/// The calling thread's network namespace.
pub(crate) fn current_network() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Moves the calling thread into a network namespace.
pub(crate) fn enter_network(namespace: &OwnedFd) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Moves the calling thread into a new network and a new host name namespace, and names the latter.
pub(crate) fn new_pod(host_name: &str) -> io::Result<PodNamespaces> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)?;
    nix::unistd::sethostname(host_name)?;
    let network = File::open("/proc/thread-self/ns/net")?;
    let inode = network.metadata()?.ino();
    let host_name = File::open("/proc/thread-self/ns/uts")?.into();
    Ok(PodNamespaces { network: network.into(), inode, host_name })
}

/// The namespaces of one pod. They are there for as long as this, or a process in them, is.
#[derive(Debug)]
pub(crate) struct PodNamespaces {
    /// The network namespace.
    pub(crate) network: OwnedFd,
    /// What /proc calls it.
    pub(crate) inode: u64,
    /// The namespace with the host name.
    pub(crate) host_name: OwnedFd,
}

/// As whom a child runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum RunAs {
    /// As the supervisor's user. Where that is not root, without any privilege.
    #[default]
    Same,
    /// As the supervisor's user, with CAP_NET_ADMIN alone where that is not root.
    NetworkAdmin,
    /// As another user, without any privilege. Only in [`Mode::Root`].
    User {
        /// User.
        uid: u32,
        /// Main group.
        gid: u32,
        /// All groups.
        groups: Vec<u32>,
    },
}

/// Makes `command` start in a session of its own, in the pod's namespaces, in the directory `cwd`, as `run_as`, with `inherited`
/// left open. The command must not have a directory or user of its own.
pub(crate) fn in_pod(
    command: &mut Command,
    pod: &Arc<PodNamespaces>,
    cwd: &Path,
    run_as: RunAs,
    inherited: Vec<Arc<OwnedFd>>,
) -> io::Result<()> {
    let cwd = CString::new(cwd.as_os_str().as_bytes())?;
    let pod = pod.clone();
    let (groups, ids) = match &run_as {
        RunAs::User { uid, gid, groups } => (
            groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
            Some((Uid::from_raw(*uid), Gid::from_raw(*gid))),
        ),
        RunAs::Same | RunAs::NetworkAdmin => (Vec::new(), None),
    };
    let enter = move || -> io::Result<()> {
        setns(&pod.network, CloneFlags::CLONE_NEWNET)?;
        setns(&pod.host_name, CloneFlags::CLONE_NEWUTS)?;
        setsid()?;
        for fd in &inherited {
            // SAFETY: a plain system call on a descriptor that `inherited` keeps open.
            Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) })?;
        }
        if run_as == RunAs::NetworkAdmin {
            keep_network_admin()?;
        }
        if let Some((uid, gid)) = ids {
            setgroups(&groups)?;
            setresgid(gid, gid, gid)?;
            setresuid(uid, uid, uid)?;
        }
        nix::unistd::chdir(cwd.as_c_str())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only; it takes no lock and allocates nothing (a path of less
    // than 1 KiB and CStrings are passed as they are).
    unsafe { command.pre_exec(enter) };
    Ok(())
}

/// Owns a descriptor that has just come over a socket.
pub(crate) fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for us on receipt (SCM_RIGHTS), and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

const CAP_NET_ADMIN: u32 = 12;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Makes CAP_NET_ADMIN outlive the exec of a user who is not root; all others end there. See capabilities(7), "ambient".
fn keep_network_admin() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let bit = 1 << CAP_NET_ADMIN;
    let header = CapabilityHeader { version: VERSION_3, pid: 0 };
    let data =
        [CapabilityData { effective: bit, permitted: bit, inheritable: bit }, CapabilityData::default()];
    // SAFETY: header and data have the layout that version 3 of capset(2) asks for and outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    let zero: libc::c_ulong = 0;
    // SAFETY: prctl with numbers only.
    Errno::result(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
            libc::c_ulong::from(CAP_NET_ADMIN),
            zero,
            zero,
        )
    })?;
    Ok(())
}
