//! What processes cost, read from `/proc`: the same way for every proxy, whoever made it. The proxies of a pod are the processes
//! in its network namespace that the benchmark has not started itself, which it marks in their environment.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// The environment variable that marks the benchmark's own processes; its value is the pod's name.
pub(crate) const POD_ENV: &str = "CONDUIT_BENCH_POD";
/// Ticks per second of the CPU times in `/proc/<pid>/stat` (`USER_HZ`; 100 on every Linux architecture that Conduit runs on).
const TICKS_PER_S: f64 = 100.0;

/// CPU time and memory of some processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// How many processes.
    pub(crate) processes: usize,
    /// User and system time since their start.
    pub(crate) cpu_seconds: f64,
    /// Resident memory.
    pub(crate) rss_bytes: u64,
    /// Resident memory, each page divided by the number of processes that share it.
    pub(crate) pss_bytes: u64,
    /// The most that was ever resident.
    pub(crate) peak_bytes: u64,
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.cpu_seconds += other.cpu_seconds;
        self.rss_bytes += other.rss_bytes;
        self.pss_bytes += other.pss_bytes;
        self.peak_bytes += other.peak_bytes;
    }
}

/// What the proxies of a pod use.
///
/// # Errors
/// When the pod has no process of the benchmark, so that its network namespace is not known.
pub(crate) fn proxies_of(pod: &str) -> anyhow::Result<Usage> {
    let mut sum = Usage::default();
    for path in pod_processes(pod)? {
        if !has_mark(&path, |value| value.starts_with(POD_ENV)) {
            // A process that ended meanwhile costs nothing more.
            sum.add(usage(&path).unwrap_or_default());
        }
    }
    Ok(sum)
}

/// The directories in `/proc` of all processes in a pod's network namespace.
///
/// # Errors
/// As `proxies_of`.
pub(crate) fn pod_processes(pod: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mark = format!("{POD_ENV}={pod}");
    let mut all = all_processes()?;
    let own = all.iter().find(|path| has_mark(path, |value| value == mark));
    let network = own.and_then(|path| network(path)).with_context(|| {
        format!(
            "no process of the benchmark is seen in pod {pod}; is this run by the user who started the world?"
        )
    })?;
    all.retain(|path| self::network(path).is_some_and(|other| other == network));
    Ok(all)
}

/// A proxy of Conduit's that runs on this machine, in whatever world or cluster.
#[derive(Debug, Clone)]
pub(crate) struct ConduitProxy {
    /// The namespace of its pod.
    pub(crate) namespace: String,
    /// Its pod.
    pub(crate) pod: String,
    /// Its folder in `/proc`.
    pub(crate) process: PathBuf,
}

/// All of Conduit's proxies whose process namespace `is_meant`, by their pods.
pub(crate) fn conduit_proxies(is_meant: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<ConduitProxy>> {
    let mut all: Vec<ConduitProxy> = all_processes()?
        .into_iter()
        .filter(|process| {
            is_program(process, "conduit-proxy")
                && pid_namespace(process).is_some_and(|namespace| is_meant(&namespace))
        })
        .filter_map(|process| {
            let namespace = variable(&process, "CONDUIT_PROXY_POD_NAMESPACE")?;
            Some(ConduitProxy { namespace, pod: variable(&process, "CONDUIT_PROXY_POD_NAME")?, process })
        })
        .collect();
    all.sort_by(|a, b| (&a.namespace, &a.pod).cmp(&(&b.namespace, &b.pod)));
    Ok(all)
}

/// Which process namespace a process is in, by its folder in `/proc`.
pub(crate) fn pid_namespace(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/pid")).ok()
}

/// Whether a process says that it runs this program.
pub(crate) fn is_program(process: &Path, name: &str) -> bool {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    Path::new(&*String::from_utf8_lossy(first)).file_name().is_some_and(|file| file == name)
}

/// The folders in `/proc` of all processes.
pub(crate) fn all_processes() -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(entries
        .filter(|path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
        })
        .collect())
}

/// A variable of a process's environment.
fn variable(process: &Path, name: &str) -> Option<String> {
    let environ = fs::read(process.join("environ")).ok()?;
    let text = String::from_utf8_lossy(&environ);
    text.split('\0').find_map(|variable| variable.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

fn has_mark(process: &Path, is_mark: impl Fn(&str) -> bool) -> bool {
    let environ = fs::read(process.join("environ")).unwrap_or_default();
    environ.split(|byte| *byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok()).any(is_mark)
}

fn network(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/net")).ok()
}

/// What a process uses, by its folder in `/proc`.
pub(crate) fn usage(process: &Path) -> Option<Usage> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let status = fs::read_to_string(process.join("status")).ok()?;
    let shares = fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
    Some(Usage {
        processes: 1,
        cpu_seconds: cpu_seconds(&stat)?,
        rss_bytes: memory_bytes(&status, "VmRSS:")?,
        pss_bytes: memory_bytes(&shares, "Pss:")?,
        peak_bytes: memory_bytes(&status, "VmHWM:")?,
    })
}

/// User and system time, fields 14 and 15 of proc_pid_stat(5); the second field is a name that may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_S)
}

/// A figure of proc_pid_status(5) or of `smaps_rollup`, both in kB; it has none: a kernel thread or a zombie.
pub(crate) fn memory_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(Some(0), |line| Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024))
}

/// CPU time of the whole machine since its start, in ticks: proc_stat(5).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct MachineTime {
    all: f64,
    idle: f64,
}

impl MachineTime {
    /// Until now; nothing where it cannot be read.
    pub(crate) fn now() -> Self {
        Self::read(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn read(stat: &str) -> Self {
        let first = stat.lines().next().unwrap_or_default();
        // The ninth and tenth, guests, are in the first two already; the fourth and fifth are idle and waiting.
        let ticks: Vec<f64> = first.split_ascii_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        Self { all: ticks.iter().sum(), idle: ticks.iter().skip(3).take(2).sum() }
    }

    /// The share of the time since `before` in which the machine was not idle.
    pub(crate) fn busy_since(self, before: Self) -> f64 {
        1.0 - (self.idle - before.idle) / (self.all - before.all)
    }
}

/// What the benchmark ran on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's model.
    pub(crate) cpu: String,
    /// Threads that run at once.
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// The kernel's release.
    pub(crate) kernel: String,
}

impl Machine {
    /// This one. What cannot be read stays empty.
    pub(crate) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "processes_tests.rs"]
mod tests;
