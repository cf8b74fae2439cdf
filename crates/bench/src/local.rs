//! A local world that is there for one measurement, and the benchmark's own commands in its pods. Deliberately absent: what is
//! measured.

use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use conduit_testbed::client::{self, Client, Running};
use conduit_testbed::spec::{BIN_DIR_ENV, Dir, Exec};
use conduit_testbed::supervisor::Options;

use crate::processes::POD_ENV;

/// Starts a world, measures in it and takes it down again, also when something fails. The measurement gets a directory for its files.
pub(crate) fn in_world<T>(
    change: impl FnOnce(&mut Options),
    measure: impl FnOnce(&Client, &Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let dir = tempfile::Builder::new().prefix("conduit-bench-").tempdir()?;
    let world = Client::new(Dir::new(dir.path().join("world")));
    let mut options = Options {
        detach: true,
        until_stdin_closes: true,
        log: "warn".to_owned(),
        ..Options::new(world.dir().clone())
    };
    change(&mut options);
    let mut supervisor = client::start(&options)?;
    let measured = world.ping().map_err(Into::into).and_then(|_| measure(&world, dir.path()));
    let down = world.down();
    drop(supervisor.stdin.take());
    supervisor.wait()?;
    let measured = measured?;
    down?;
    Ok(measured)
}

/// A command line of the benchmark's own program.
pub(crate) fn words(executable: &Path, words: &[&str]) -> Vec<String> {
    std::iter::once(executable.display().to_string())
        .chain(words.iter().map(|word| (*word).to_owned()))
        .collect()
}

/// The environment of a process of other origin than the benchmark's.
pub(crate) fn path_only() -> Vec<(String, String)> {
    std::env::var("PATH").map(|path| ("PATH".to_owned(), path)).into_iter().collect()
}

/// The environment of the benchmark's own processes in the pod of `workload`.
pub(crate) fn environment(workload: &str) -> Vec<(String, String)> {
    let mut env = path_only();
    env.push((POD_ENV.to_owned(), workload.to_owned()));
    env
}

/// The environment of a proxy of ours in the pod of `workload`, as which it is known to the controller.
pub(crate) fn proxy_environment(world: &Client, workload: &str) -> anyhow::Result<Vec<(String, String)>> {
    let ps = world.ps()?;
    let found = ps.workload(workload).and_then(|workload| workload.pods.first());
    let pod = found.with_context(|| format!("{workload} has no pod"))?;
    let ips: Vec<String> = pod.ips.iter().map(ToString::to_string).collect();
    let tokens = world.dir().tokens();
    let mut env = Vec::new();
    for (name, value) in [
        ("POD_NAMESPACE", "default".to_owned()),
        ("POD_NAME", pod.name.clone()),
        ("SERVICE_ACCOUNT", workload.to_owned()),
        ("POD_IPS", ips.join(",")),
        ("TRUST_ANCHORS", tokens.join("trust-anchor.crt").display().to_string()),
        ("TOKEN", tokens.join(&pod.name).display().to_string()),
        ("CONTROLLER_ADDR", ps.controller_addr),
    ] {
        env.push((format!("CONDUIT_PROXY_{name}"), value));
    }
    env.extend(std::env::var(BIN_DIR_ENV).map(|dir| (BIN_DIR_ENV.to_owned(), dir)));
    Ok(env)
}

/// Begins a command in a pod; its standard output is read here, its standard error is this process's.
pub(crate) fn begin(
    world: &Client,
    target: &str,
    command: Vec<String>,
    env: Vec<(String, String)>,
) -> anyhow::Result<(Running, BufReader<PipeReader>)> {
    let (output, input) = std::io::pipe()?;
    let nothing = std::fs::File::open("/dev/null")?;
    let stderr = std::io::stderr();
    let exec = Exec { target: target.to_owned(), command, env, cwd: "/".into(), user: None };
    let running = world.exec(&exec, [nothing.as_fd(), input.as_fd(), stderr.as_fd()])?;
    Ok((running, BufReader::new(output)))
}

/// Runs the benchmark's own program in the pod of `workload` to its end, and returns what it printed.
pub(crate) fn measure(world: &Client, workload: &str, command: Vec<String>) -> anyhow::Result<String> {
    measure_with(world, workload, command, Vec::new())
}

/// The same, with more environment.
pub(crate) fn measure_with(
    world: &Client,
    workload: &str,
    command: Vec<String>,
    more: Vec<(String, String)>,
) -> anyhow::Result<String> {
    let mut env = environment(workload);
    env.extend(more);
    let (running, mut output) = begin(world, workload, command, env)?;
    let mut printed = String::new();
    output.read_to_string(&mut printed)?;
    let code = running.wait()?;
    ensure!(code == 0, "a command in the pod of {workload} ended with exit code {code}");
    Ok(printed)
}

/// Begins the benchmark's own program in the pod of `workload`, to run until the result is dropped, and waits for its first line.
pub(crate) fn hold(world: &Client, workload: &str, command: Vec<String>) -> anyhow::Result<Running> {
    let (running, mut output) = begin(world, workload, command, environment(workload))?;
    let mut line = String::new();
    ensure!(output.read_line(&mut line)? > 0, "it ended with exit code {}", running.wait()?);
    Ok(running)
}

/// Has a process, by its folder in `/proc`, scheduled in real time, or as usual again.
pub(crate) fn schedule(process: &Path, real_time: bool) -> anyhow::Result<()> {
    let policy = if real_time { ["--rr", "1"] } else { ["--other", "0"] };
    let Some(pid) = process.file_name() else { return Ok(()) };
    let output = Command::new("chrt")
        .args(["--all-tasks", policy[0], "--pid", policy[1]])
        .arg(pid)
        .output()
        .context("cannot run chrt (util-linux)")?;
    // A process that ended meanwhile needs no schedule.
    ensure!(
        output.status.success() || !process.exists(),
        "chrt: {}; leave --realtime away where that is not allowed",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Puts in front of a load's command what has it scheduled in real time.
pub(crate) fn in_real_time(command: &mut Vec<String>) {
    command.splice(..0, ["chrt", "--rr", "1"].map(str::to_owned));
}
