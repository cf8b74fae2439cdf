//! `conduit local logs`: reads the log files of a world, also after it has ended. Lines of several pods are told apart by the pod's
//! name. Following looks at the files now and then; nothing is held in memory but one piece of a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use conduit_testbed::client::Client;
use conduit_testbed::spec::Dir;

use crate::args::LocalLogs;
use crate::block_on;
use crate::output::{self, Failure};
use crate::tap::until_done;

/// Between two looks at a file that is followed.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Longest line, in bytes; what is longer is printed as several lines, so that memory has a bound.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Runs the verb.
///
/// # Errors
/// When there is no such log, or it cannot be read.
pub(super) fn run(args: &LocalLogs, client: &Client) -> Result<(), Failure> {
    let mut logs = find(args, client)?;
    let prefixed = logs.len() > 1;
    for log in &mut logs {
        log.prefix = if prefixed { format!("{}  ", log.name) } else { String::new() };
        if let Some(lines) = args.tail {
            log.skip_to_last(lines)?;
        }
        log.print_new()?;
    }
    if args.follow { block_on(follow(logs)) } else { Ok(()) }
}

async fn follow(mut logs: Vec<Log>) -> Result<(), Failure> {
    let interrupted = until_done(None);
    tokio::pin!(interrupted);
    loop {
        for log in &mut logs {
            log.print_new()?;
        }
        tokio::select! {
            () = &mut interrupted => return Ok(()),
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// The files that belong to what was named: of the pods that are known, else of whatever has left files of that name.
fn find(args: &LocalLogs, client: &Client) -> Result<Vec<Log>, Failure> {
    let dir = client.dir();
    let pods = match args.target.as_str() {
        "controller" => return Ok(vec![Log::open("controller", &dir.controller_log())?]),
        "supervisor" => return Ok(vec![Log::open("supervisor", &dir.supervisor_log())?]),
        target => pods(target, client),
    };
    let mut logs = Vec::with_capacity(pods.len());
    for pod in &pods {
        let path = if args.proxy { dir.proxy_log(pod) } else { dir.log(pod) };
        if path.exists() {
            logs.push(Log::open(pod, &path)?);
        }
    }
    if logs.is_empty() {
        let what = if args.proxy { "log of a proxy" } else { "log" };
        return Err(Failure::problem(
            format!("there is no {what} of {} in {}", args.target, dir.logs().display()),
            "`conduit local ps` lists the workloads and pods; also: controller, supervisor",
        ));
    }
    Ok(logs)
}

fn pods(target: &str, client: &Client) -> Vec<String> {
    if let Ok(world) = client.ps()
        && let Some(workload) = world.workload(target)
    {
        return workload.pods.iter().map(|pod| pod.name.clone()).collect();
    }
    left_behind(target, client.dir())
}

/// The pod itself, or the pods `TARGET-1`, `TARGET-2`, … that have left a log.
fn left_behind(target: &str, dir: &Dir) -> Vec<String> {
    if dir.log(target).exists() || dir.proxy_log(target).exists() {
        return vec![target.to_owned()];
    }
    let entries = std::fs::read_dir(dir.logs()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let pod = |name: String| {
        let pod = name.strip_suffix(".log")?;
        let number: u32 = pod.strip_prefix(target)?.strip_prefix('-')?.parse().ok()?;
        Some((number, pod.to_owned()))
    };
    let mut pods: Vec<(u32, String)> = names.filter_map(pod).collect();
    pods.sort();
    pods.into_iter().map(|(_, pod)| pod).collect()
}

/// One file, and how far it has been read.
struct Log {
    name: String,
    path: PathBuf,
    prefix: String,
    file: BufReader<File>,
    /// The last line that was printed had no end yet.
    open_line: bool,
}

impl Log {
    fn open(name: &str, path: &Path) -> Result<Self, Failure> {
        let opened = File::open(path).map_err(|error| cannot_read(path, &error))?;
        let (name, path) = (name.to_owned(), path.to_owned());
        Ok(Self { name, path, prefix: String::new(), file: BufReader::new(opened), open_line: false })
    }

    /// Goes to where the last `lines` lines begin.
    fn skip_to_last(&mut self, lines: usize) -> Result<(), Failure> {
        let starts = last_starts(&mut self.file, lines).map_err(|error| cannot_read(&self.path, &error))?;
        let sought = self.file.seek(SeekFrom::Start(starts));
        sought.map(drop).map_err(|error| cannot_read(&self.path, &error))
    }

    /// A log that had grown too long was put aside, and the file begins anew.
    fn begin_again_where_emptied(&mut self) -> io::Result<()> {
        let read = self.file.stream_position()?;
        if self.file.get_ref().metadata()?.len() < read {
            self.file.rewind()?;
        }
        Ok(())
    }

    /// Prints what has come since.
    fn print_new(&mut self) -> Result<(), Failure> {
        self.begin_again_where_emptied().map_err(|error| cannot_read(&self.path, &error))?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut piece = io::Read::take(&mut self.file, LINE_BYTES_MAX);
            let read = piece.read_until(b'\n', &mut line).map_err(|error| cannot_read(&self.path, &error))?;
            if read == 0 {
                return Ok(());
            }
            let prefix = if self.open_line { "" } else { self.prefix.as_str() };
            output::print(&format!("{prefix}{}", String::from_utf8_lossy(&line)))?;
            self.open_line = line.last() != Some(&b'\n');
        }
    }
}

/// Where the last `lines` lines of a file begin.
fn last_starts(file: &mut impl BufRead, lines: usize) -> io::Result<u64> {
    let mut starts = VecDeque::from([0]);
    let mut at = 0;
    loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            // What begins at the very end is no line.
            if starts.back() == Some(&at) {
                starts.pop_back();
            }
            let first = starts.len().saturating_sub(lines);
            return Ok(if lines == 0 { at } else { starts.get(first).copied().unwrap_or(at) });
        }
        let ends = piece.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for (index, _) in ends {
            starts.push_back(at + index as u64 + 1);
            if starts.len() > lines.saturating_add(1) {
                starts.pop_front();
            }
        }
        let length = piece.len();
        at += length as u64;
        file.consume(length);
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::problem(format!("cannot read {}: {error}", path.display()), "")
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
