//! What this process uses of the machine, read from `/proc/self`. Depends on the standard library only, without unsafe calls.
//! Deliberately absent: other processes and per-thread figures; where `/proc` is not mounted the figures are 0.

use std::fs;

/// Clock ticks per second in `/proc/*/stat`: the kernel's USER_HZ, 100 on every architecture that Conduit is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The resident memory of this process, in bytes; 0 when it cannot be read.
pub fn rss_bytes() -> u64 {
    fs::read_to_string("/proc/self/status").ok().and_then(|status| parse_rss(&status)).unwrap_or(0)
}

/// The processor time that this process has used (user and system), in seconds; 0 when it cannot be read.
pub fn cpu_seconds() -> f64 {
    fs::read_to_string("/proc/self/stat").ok().and_then(|stat| parse_cpu(&stat)).unwrap_or(0.0)
}

/// The open file descriptors of this process; 0 when they cannot be read. The one that the reading itself needs is not counted.
pub fn open_files() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| (entries.count() as u64).saturating_sub(1))
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The command's name stands in parentheses and may itself hold spaces and parentheses: count the fields after the last one.
fn parse_cpu(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
