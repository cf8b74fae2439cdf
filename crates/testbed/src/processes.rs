//! The processes of a local world. The supervisor is process 1 in its namespace: it starts them, and reaps them and every orphan
//! they leave. Depends on tokio's signals and nix. Deliberately absent: which processes there are (see `pod` and `daemon`).

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::sync::watch;

/// The processes that the supervisor started and that have not ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes {
    // Held over fork and over waitpid, a millisecond, so that a process is known before its end can be seen, and no signal goes to
    // a number that has been given to another.
    running: Arc<Mutex<HashMap<i32, watch::Sender<Option<i32>>>>>,
}

impl Processes {
    fn running(&self) -> MutexGuard<'_, HashMap<i32, watch::Sender<Option<i32>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `command`.
    pub(crate) fn start(&self, command: &mut Command) -> io::Result<Process> {
        let mut running = self.running();
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let (sender, ended) = watch::channel(None);
        running.insert(pid, sender);
        Ok(Process { pid, ended, processes: self.clone() })
    }

    /// Reaps what ends, for as long as it runs.
    pub(crate) async fn reap(self) {
        let kind = tokio::signal::unix::SignalKind::child();
        let Ok(mut ended) = tokio::signal::unix::signal(kind) else {
            tracing::error!("SIGCHLD cannot be watched: ended processes will not be noticed");
            return;
        };
        loop {
            self.reap_ended();
            if ended.recv().await.is_none() {
                return;
            }
        }
    }

    fn reap_ended(&self) {
        let mut running = self.running();
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(_) | Err(_) => return,
            };
            // An orphan that was left to process 1 is not in the map.
            if let Some(sender) = running.remove(&pid.as_raw()) {
                sender.send_replace(Some(exit));
            }
        }
    }
}

/// A process that the supervisor started.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    ended: watch::Receiver<Option<i32>>,
    processes: Processes,
}

impl Process {
    /// Its exit code, or 128 and the number of the signal that ended it; waits for that.
    pub(crate) async fn ended(&self) -> i32 {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(exit) => (*exit).unwrap_or(-1),
            Err(_) => -1,
        }
    }

    /// The same, if it has ended.
    pub(crate) fn exit(&self) -> Option<i32> {
        *self.ended.borrow()
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        let running = self.processes.running();
        if !running.contains_key(&self.pid) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        }
        let signal = Signal::try_from(signal)?;
        Ok(kill(Pid::from_raw(self.pid), signal)?)
    }

    /// Sends a signal to it, which leads a session, and to what it has started in its group.
    pub(crate) fn signal_session(&self, signal: i32) -> io::Result<()> {
        let running = self.processes.running();
        if running.contains_key(&self.pid) {
            kill(Pid::from_raw(-self.pid), Signal::try_from(signal)?)?;
        }
        Ok(())
    }

    /// SIGTERM, and SIGKILL when it has not ended after `grace`. Returns when it has ended.
    pub(crate) async fn end(&self, grace: Duration) -> i32 {
        // That it has ended already is as good.
        let _ = self.signal(libc::SIGTERM);
        if let Ok(exit) = tokio::time::timeout(grace, self.ended()).await {
            return exit;
        }
        let _ = self.signal(libc::SIGKILL);
        self.ended().await
    }
}

/// Makes both outputs of `command` go to the end of the file at `path`, and its input come from nowhere.
pub(crate) fn log_to(command: &mut Command, path: &Path) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(path)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(())
}

/// Resident memory in bytes, and CPU time in seconds; zeros when the process has ended. See proc_pid_stat(5).
pub(crate) fn usage(pid: i32) -> (u64, f64) {
    let read = || -> Option<(u64, f64)> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<u64> =
            after_name.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        // Counted from the state, which is field 3 of the manual page: utime is 14, stime 15, rss 24.
        let (utime, stime, rss_pages) = (*fields.get(11)?, *fields.get(12)?, *fields.get(21)?);
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        #[expect(clippy::cast_precision_loss, reason = "ticks of a process's life fit into the 52 bits")]
        let cpu_seconds = (utime + stime) as f64 / ticks as f64;
        Some((rss_pages * u64::try_from(page_bytes).ok()?, cpu_seconds))
    };
    read().unwrap_or_default()
}

/// Kills every process in the network namespace with this inode: what a pod's application has left behind.
pub(crate) fn kill_all_in(network: u64) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid != 1 && namespace_inode(&entry.path().join("ns/net")) == Some(network) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn namespace_inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(std::fs::metadata(path).ok()?.ino())
}
