//! What a cluster changes on the machine outside its namespaces, and gives back: a cgroup for each node, and the sysctls that a kubelet sets
//! for the whole kernel. Also processes, looked up in /proc. Depends on the kernel's files. Deliberately absent: namespaces (`node`).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const CGROUPS: &str = "/sys/fs/cgroup";

/// What a kubelet sets for the whole machine.
const SYSCTLS: [&str; 3] = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];

/// How often something is looked at that is being waited for.
const INTERVAL: Duration = Duration::from_millis(50);

/// How long the kernel may take to let go of a killed node's cgroups.
const RELEASE_TIME: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; what failed last is the error's reason.
pub(crate) fn wait(what: &str, time: Duration, mut condition: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        match condition() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("{what} not within {} s", time.as_secs())));
            }
            Err(_) => sleep(INTERVAL),
        }
    }
}

/// The sysctls as they are.
pub(crate) fn sysctls() -> Vec<String> {
    let read = |name: &&str| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
    SYSCTLS.iter().map(read).map(|value| value.trim().to_owned()).collect()
}

/// Puts the sysctls back.
pub(crate) fn restore_sysctls(values: &[String]) -> Result<()> {
    for (name, value) in SYSCTLS.iter().zip(values) {
        let path = Path::new("/proc/sys").join(name);
        if fs::read_to_string(&path).unwrap_or_default().trim() != value {
            fs::write(&path, value).with_context(|| format!("cannot put {name} back to {value}"))?;
        }
    }
    Ok(())
}

/// The name of the cgroup of a node of the cluster in `dir`.
pub(crate) fn cgroup(dir: &Path, number: u8) -> String {
    format!("conduit-{}-node{number}", dir.file_name().unwrap_or_default().to_string_lossy())
}

/// Makes a node's cgroup in every hierarchy (version 1), or in the one there is (version 2).
pub(crate) fn make_cgroups(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let own = hierarchy.join(name);
        fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
        // A new cpuset has neither processors nor memory, and no process may enter it before it has.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let all = hierarchy.join(file);
            if own.join(file).exists() && all.exists() {
                fs::write(own.join(file), fs::read(all)?)
                    .with_context(|| format!("cannot write {}/{file}", own.display()))?;
            }
        }
    }
    Ok(())
}

/// Removes a node's cgroups, when the kernel has let go of its processes.
pub(crate) fn remove_cgroups(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let own = hierarchy.join(name);
        wait(&format!("cannot remove {}:", own.display()), RELEASE_TIME, || remove_tree(&own))?;
    }
    Ok(())
}

/// The mount points in which a node's cgroups are.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new(CGROUPS);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut hierarchies = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("cannot read {CGROUPS}"))? {
        let path = entry?.path();
        if path.join("cgroup.procs").exists() {
            hierarchies.push(path);
        }
    }
    Ok(hierarchies)
}

fn remove_tree(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// When a process began, in the kernel's ticks since boot: with its number this names it for good.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may have anything in it; the fields after it begin with the third (proc_pid_stat(5)).
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// Whether a process has ended with all that it held: it is gone, or waits to be reaped and its last thread has ended. Before that its
/// name may be gone already, while it still listens on its ports.
pub(crate) fn has_ended(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let dead = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']));
    dead && fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) <= 1
}

/// The children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok()) == Some(parent)
    };
    processes().into_iter().filter(is_child).collect()
}

/// The processes in the process namespace of `holder`, by this program name; all of them when there is none.
pub(crate) fn processes_beside(holder: u32, program: Option<&str>) -> Vec<u32> {
    let namespace =
        |pid: u32| fs::metadata(format!("/proc/{pid}/ns/pid")).map(|metadata| metadata.ino()).ok();
    let Some(own) = namespace(holder) else { return Vec::new() };
    let is_it = |pid: &u32| {
        namespace(*pid) == Some(own) && program.is_none_or(|name| program_of(*pid).as_deref() == Some(name))
    };
    processes().into_iter().filter(is_it).collect()
}

/// The file name of the program that a process was started as; `None` also for one that has ended.
fn program_of(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = String::from_utf8_lossy(line.split(|byte| *byte == 0).next()?).into_owned();
    Some(first.rsplit('/').next()?.to_owned())
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Fails when this process may not make namespaces, with what to do.
pub(crate) fn check_privileges() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "a Kubernetes cluster needs root: a kubelet makes cgroups, mounts and network namespaces. Run this as root"
        );
    }
    let made = std::process::Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--uts", "--ipc", "true"])
        .output()
        .context("cannot run unshare")?;
    if !made.status.success() {
        bail!(
            "this machine does not let root make namespaces ({}). In a container, run it privileged (CAP_SYS_ADMIN, CAP_NET_ADMIN)",
            String::from_utf8_lossy(&made.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
