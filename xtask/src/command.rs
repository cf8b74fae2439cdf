//! Running commands: from the repository's root, with their output in a log, a line of life while they work, and the counts of
//! the tests they ran. It depends on the standard library. Deliberately absent: time limits; what may hang has its own deadlines.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a command may say nothing before a line of life is printed.
const LIFE_LINE: Duration = Duration::from_secs(15);

/// Lines of a command that wait to be read: enough that it is not slowed, few enough to be nothing.
const LINES_MAX: usize = 256;

/// How many of the last lines are shown of a command that failed; the rest is in its log.
const TAIL_LINES_MAX: usize = 60;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where builds go: `CARGO_TARGET_DIR`, or `target` at the root.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where the release binaries go, under the name of this machine's target.
pub(crate) fn release_dir() -> Result<PathBuf> {
    Ok(target_dir().join(host()?).join("release"))
}

/// Where the release binaries are linked to, so that they have one name on every machine: `target/bin`.
pub(crate) fn bin_dir() -> PathBuf {
    target_dir().join("bin")
}

/// Where the tools go that are built and not part of the repository: `CONDUIT_TOOLS_DIR`, or the user's cache so that a fresh
/// clone finds them, or `target/tools` where there is no home.
pub(crate) fn tools_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CONDUIT_TOOLS_DIR") {
        return PathBuf::from(dir);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.map_or_else(|| target_dir().join("tools"), |cache| cache.join("conduit/tools"))
}

/// The triple of this machine, as the compiler names it.
pub(crate) fn host() -> Result<String> {
    let text = output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let host =
        text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(host.to_owned())
}

/// `cargo` with these arguments, at the root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs the command with our own output, and fails when it fails.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// The standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", shown(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// How tests went.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

impl Counts {
    /// Adds what a line of a test binary's output tells: `test result: ok. 3 passed; 0 failed; …`.
    pub(crate) fn add_line(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse::<u64>().unwrap_or(0),
                Some((count, "failed")) => self.failed += count.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// Adds other counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs commands one after the other into one log, until one fails that is not told to go on.
pub(crate) struct Log {
    file: File,
    path: PathBuf,
    counts: Counts,
    failed: Vec<String>,
    flaky: Vec<String>,
    tail: Vec<String>,
}

/// The name of the test that failed, where a line of a test binary's output tells that.
pub(crate) fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

impl Log {
    /// A log of this name, emptied.
    pub(crate) fn create(name: &str) -> Result<Self> {
        let dir = target_dir().join("xtask-logs");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(format!("{}.log", name.replace(' ', "-")));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            file,
            path,
            counts: Counts::default(),
            failed: Vec::new(),
            flaky: Vec::new(),
            tail: Vec::new(),
        })
    }

    /// What the test binaries run so far have told.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The tests that failed since this was asked last.
    pub(crate) fn take_failed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.failed)
    }

    /// These failed once and were run again: those that are not in `failed` passed, and count so.
    pub(crate) fn ran_again(&mut self, tests: Vec<String>, failed: &[String]) {
        self.counts.failed -= tests.len() as u64;
        self.flaky.extend(tests.into_iter().filter(|test| !failed.contains(test)));
    }

    /// The tests that failed and passed when run again.
    pub(crate) fn flaky(&self) -> &[String] {
        &self.flaky
    }

    /// Notes a line, as if a command had written it.
    pub(crate) fn note(&mut self, line: &str) -> Result<()> {
        writeln!(self.file, "{line}").context("cannot write the log")?;
        self.counts.add_line(line);
        self.failed.extend(failed_test(line).map(str::to_owned));
        if self.tail.len() == TAIL_LINES_MAX {
            self.tail.remove(0);
        }
        self.tail.push(line.to_owned());
        Ok(())
    }

    /// Runs the command; lines for which `shows` is true are printed as they come. Returns whether it succeeded.
    pub(crate) fn run(&mut self, command: &mut Command, shows: fn(&str) -> bool) -> Result<bool> {
        writeln!(self.file, "$ {}", shown(command)).context("cannot write the log")?;
        command
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", shown(command)))?;
        let (sender, lines) = sync_channel(LINES_MAX);
        let readers = [
            child.stdout.take().map(|out| pump(out, sender.clone())),
            child.stderr.take().map(|err| pump(err, sender)),
        ];
        let started = Instant::now();
        loop {
            match lines.recv_timeout(LIFE_LINE) {
                Ok(line) => {
                    if shows(&line) {
                        println!("    {}", line.trim_start());
                    }
                    self.note(&line)?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let last = self.tail.last().map_or("", |line| line.trim());
                    println!(
                        "    … {} s: {}",
                        started.elapsed().as_secs(),
                        last.chars().take(100).collect::<String>()
                    );
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for reader in readers.into_iter().flatten() {
            reader.join().ok();
        }
        Ok(child.wait().with_context(|| format!("cannot wait for {}", shown(command)))?.success())
    }

    /// Prints the end of the log and where the rest is.
    pub(crate) fn print_tail(&self) {
        for line in &self.tail {
            println!("    | {line}");
        }
        println!("    whole log: {}", self.path.display());
    }
}

/// Sends every line of a stream, on a thread of its own.
fn pump(stream: impl Read + Send + 'static, lines: SyncSender<String>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(count) if count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if lines.send(line).is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
