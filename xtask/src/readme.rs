//! The README's commands, run as they are written: the lines that begin with `$` in its console blocks, in order.
//! It depends on the release binaries. Deliberately absent: judging what the commands print; the end-to-end tests do that.
//!
//! A command that does not end by itself (`demo`, `top`, `tap`) runs until it has printed something and the next commands of
//! its section have run; then it is interrupted and has to end. Commands that build or test are what we are in: not run again.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{Log, bin_dir, root};

/// How long a command may take to end by itself. One that is still running then must be one that runs until it is interrupted.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// How long a command that runs until it is interrupted may run before it has to have printed something.
const FIRST_LINE_TIME: Duration = Duration::from_secs(60);

/// How long a command may take to end after it was interrupted.
const END_TIME: Duration = Duration::from_secs(30);

/// How often a child is asked whether it ended.
const POLL: Duration = Duration::from_millis(100);

/// A command of the README, and what is to be done with it.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It ends by itself, or is a view that is interrupted.
    Run(String),
    /// It runs in the background until the section of the README ends.
    Background(String),
    /// The section of the README ends.
    SectionEnds,
}

/// Runs them all; returns whether each did what it should.
pub(crate) fn run(log: &mut Log) -> Result<bool> {
    let text = fs::read_to_string(root().join("README.md")).context("cannot read README.md")?;
    let world = World::new()?;
    let mut background: Option<Running> = None;
    let (mut passed, mut failed) = (0_u64, 0_u64);
    let mut outcomes = Vec::new();
    for step in steps(&text) {
        match step {
            Step::Run(line) => outcomes.push((line.clone(), world.run(&line)?)),
            Step::Background(line) => background = Some(world.start(&line)?),
            Step::SectionEnds => {
                if let Some(running) = background.take() {
                    let line = running.line.clone();
                    outcomes.push((line, running.interrupt()?));
                }
            }
        }
        for (line, problem) in outcomes.drain(..) {
            match problem {
                None => passed += 1,
                Some(_) => failed += 1,
            }
            let verdict = problem.map_or_else(|| "ok".to_owned(), |problem| format!("FAILED: {problem}"));
            println!("    $ {line} … {}", verdict.lines().next().unwrap_or_default());
            log.note(&format!("$ {line} … {verdict}"))?;
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    log.note(&format!("test result: {verdict}. {passed} passed; {failed} failed; the README's commands"))?;
    Ok(failed == 0)
}

/// The steps in a README's text.
fn steps(text: &str) -> Vec<Step> {
    let (mut steps, mut in_console) = (Vec::new(), false);
    for line in text.lines() {
        if line.starts_with("```") {
            in_console = line == "```console";
        } else if line.starts_with("## ") && !in_console {
            steps.push(Step::SectionEnds);
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) {
            let builds = ["cargo xtask test", "cargo build", "git clone", "cd "];
            match command {
                _ if builds.iter().any(|start| command.starts_with(start)) => {}
                "cargo xtask demo" => steps.push(Step::Background("target/bin/conduit demo".to_owned())),
                _ => steps.push(Step::Run(command.to_owned())),
            }
        }
    }
    steps.push(Step::SectionEnds);
    steps
}

/// Where the commands run: a folder of their own for the local world, so that a developer's own is left alone.
struct World {
    folder: PathBuf,
}

impl World {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("conduit-readme-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Starts a command and waits for its first table: the demo's says that its workloads run.
    fn start(&self, line: &str) -> Result<Running> {
        let running = self.spawn(line)?;
        let deadline = Instant::now() + FIRST_LINE_TIME;
        while !running.printed().contains("WORKLOAD") && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        Ok(running)
    }

    /// Runs a command to its end, or interrupts it; returns what was wrong.
    fn run(&self, line: &str) -> Result<Option<String>> {
        let mut running = self.spawn(line)?;
        let deadline = Instant::now() + COMMAND_TIME;
        while Instant::now() < deadline {
            if let Some(status) = running.child.try_wait()? {
                return Ok((!status.success()).then(|| format!("{status}: {}", running.printed().trim())));
            }
            std::thread::sleep(POLL);
        }
        running.interrupt()
    }

    fn spawn(&self, line: &str) -> Result<Running> {
        let output = self.folder.join("output");
        let file = fs::File::create(&output).with_context(|| format!("cannot write {}", output.display()))?;
        let here = line.replace("target/bin/", &format!("{}/", bin_dir().display()));
        let output = self.folder.join(format!("output-{}", line.len()));
        fs::rename(self.folder.join("output"), &output)?;
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("exec {here}")]).current_dir(root()).process_group(0);
        shell.env("CONDUIT_LOCAL_DIR", self.folder.join("world"));
        shell.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Running { child: shell.spawn().context("cannot run bash")?, line: line.to_owned(), output })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// A command that has been started, the leader of its own process group.
struct Running {
    child: Child,
    line: String,
    output: PathBuf,
}

impl Running {
    fn printed(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Interrupts it as Ctrl-C would; returns what was wrong: it had ended before, printed nothing, or did not end.
    fn interrupt(mut self) -> Result<Option<String>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(format!(
                "ended before it was interrupted ({status}): {}",
                self.printed().trim()
            )));
        }
        self.signal("-INT")?;
        let deadline = Instant::now() + END_TIME;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                let printed = self.printed();
                return Ok(printed
                    .trim()
                    .is_empty()
                    .then(|| "printed nothing before it was interrupted".to_owned()));
            }
            std::thread::sleep(POLL);
        }
        self.signal("-KILL")?;
        self.child.wait()?;
        Ok(Some(format!("did not end within {} s of its interruption", END_TIME.as_secs())))
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let group = format!("-{}", self.child.id());
        Command::new("kill").args([signal, "--", &group]).status().context("cannot run kill")?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "readme_tests.rs"]
mod tests;
