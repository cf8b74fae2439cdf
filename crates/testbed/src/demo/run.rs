//! `conduit demo`, from start to end: a world, the workloads in it, the table or the document, and all of it taken down again,
//! whichever way it ends. Progress goes to stderr, the data to stdout. Deliberately absent: how a world is made (`supervisor`).

use std::ffi::OsStr;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use conduit_process::signal;

use super::app::{Counts, ROLES, Role};
use super::measure::{Document, Operator, Snapshot};
use super::table::{Screen, render};
use crate::client::Client;
use crate::spec::{Dir, Spec, executable};
use crate::supervisor;

/// The most pods of a demo: each takes a proxy and an application, some 20 MB together.
pub const PODS_MAX: u32 = 200;
/// The windows that the controller keeps, in seconds.
const WINDOWS: [u32; 3] = [10, 60, 600];
const WINDOW_LONGEST: Duration = Duration::from_secs(600);
/// How many ticks between two looks at the longest window.
const LONG_WINDOW_EVERY: u64 = 5;
/// The tick of the first table where it is printed now and then.
const FIRST_PRINT: u64 = 3;
/// How long the controller may be silent before the demo gives up on showing anything.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often the table is drawn again on a terminal, and elsewhere.
const DRAW_EVERY: Duration = Duration::from_secs(1);
const PRINT_EVERY: Duration = Duration::from_secs(10);
/// How long the workloads may take to be ready, and for each pod beyond the first few in addition.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_TIMEOUT_PER_POD: Duration = Duration::from_secs(2);
/// How long the load generator may take to end, and how often that is looked for.
const LOAD_END_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long proxies may take to report what was still under way when the load ended.
const REPORT_PAUSE: Duration = Duration::from_secs(3);

/// What the command line said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Pods in all, spread over the workloads; fewer than there are workloads means one each.
    pub pods: u32,
    /// How long to run; `None`: until it is interrupted.
    pub duration: Option<Duration>,
    /// Print one JSON document at the end, and nothing else on stdout.
    pub json: bool,
    /// The world's directory; `None`: the usual one.
    pub dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { pods: ROLES.len() as u32, duration: None, json: false, dir: None }
    }
}

/// Runs the demo until its time is over or SIGINT or SIGTERM comes, then takes everything down.
///
/// # Errors
/// When there is a world already, when one cannot be had here, or when a workload does not start.
pub fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.pods <= PODS_MAX, "{} pods are too many; at most {PODS_MAX}", options.pods);
    let dir = Dir::or_default(options.dir.as_deref());
    let client = Client::new(dir.clone());
    if client.is_running() {
        bail!(
            "a local world runs in {} already; `conduit local down` ends it, or give the demo another --dir",
            dir.path().display()
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(options, &client))
}

async fn live(options: &Options, client: &Client) -> anyhow::Result<()> {
    let interrupted = signal::terminated();
    tokio::pin!(interrupted);
    // Its end takes the world down however this process ends: the supervisor sees its standard input close.
    let supervisor = start_world(client).await?;
    let ran = tokio::select! {
        deployed = deploy(options, client) => deployed.map(Some),
        signal = &mut interrupted => {
            say(&format!("{signal}: stopping"));
            Ok(None)
        }
    };
    let ran = match ran {
        Ok(Some(operator)) => watch(options, client, operator, interrupted).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    take_down(client, supervisor).await?;
    if let Some(document) = ran?
        && options.json
    {
        println!("{}", serde_json::to_string_pretty(&document)?);
    }
    Ok(())
}

/// A line of progress, for people.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Runs what blocks on a thread of its own, so that signals are still heard.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("a thread of the demo panicked")?
}

async fn start_world(client: &Client) -> anyhow::Result<Child> {
    let begun = Instant::now();
    say("starting the controller …");
    let client = client.clone();
    let child = blocking(move || {
        let options = supervisor::Options {
            // Ctrl-C is for this process, which then takes down what it has started in good order.
            detach: true,
            until_stdin_closes: true,
            log: "warn".to_owned(),
            ..supervisor::Options::new(client.dir().clone())
        };
        let child = crate::client::start(&options)?;
        if let Some(warning) = client.ping()? {
            say(&warning);
        }
        Ok(child)
    });
    let child = child.await?;
    say(&format!("  ready in {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(child)
}

/// Starts all that serve, at once, and when they are ready the load.
async fn deploy(options: &Options, client: &Client) -> anyhow::Result<Operator> {
    let (begun, plan) = (Instant::now(), spread(options.pods));
    let pods: u32 = plan.iter().map(|(_, replicas)| replicas).sum();
    say(&format!("starting {} workloads, {pods} pods …", plan.len()));
    let wait = READY_TIMEOUT + READY_TIMEOUT_PER_POD * pods;
    let (load, servers): (Vec<_>, Vec<_>) = plan.into_iter().partition(|(role, _)| role.port.is_none());
    for together in [servers, load] {
        let client = client.clone();
        let started = blocking(move || {
            std::thread::scope(|scope| {
                let start = |(role, replicas): (Role, u32)| {
                    let client = &client;
                    scope.spawn(move || start_workload(client, &role, replicas, wait))
                };
                let threads: Vec<_> = together.into_iter().map(start).collect();
                threads.into_iter().try_for_each(|thread| {
                    thread.join().map_err(|_| anyhow::anyhow!("a thread of the demo panicked"))?
                })
            })
        });
        started.await?;
    }
    say(&format!("  ready in {:.1} s", begun.elapsed().as_secs_f64()));
    Operator::new(&client.dir().operator_socket())
}

fn start_workload(client: &Client, role: &Role, replicas: u32, wait: Duration) -> anyhow::Result<()> {
    let spec = spec(role, replicas, &executable("conduit"));
    let warning = client.run(spec, wait).with_context(|| format!("workload {} did not start", role.name))?;
    if let Some(warning) = warning {
        say(&format!("  {}: {warning}", role.name));
    }
    Ok(())
}

/// Shows the table until the time is over or `interrupted`, then ends the load and says what came of it.
async fn watch(
    options: &Options,
    client: &Client,
    mut operator: Operator,
    interrupted: impl Future<Output = &'static str>,
) -> anyhow::Result<Document> {
    let begun = Instant::now();
    let mut failures = MeshFailures::default();
    let over = async {
        match options.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let suggested = if options.duration.is_none() { suggest(options) } else { String::new() };
    let shown = tokio::select! {
        shown = show(options, &mut operator, &mut failures, begun, &suggested) => shown,
        () = over => Ok(()),
        signal = interrupted => { say(&format!("\n{signal}: stopping")); Ok(()) }
    };
    shown?;
    let load = end_load(client).await?;
    tokio::time::sleep(REPORT_PAUSE).await;
    let elapsed = Duration::from_secs_f64(load.seconds);
    let mut snapshot = operator.snapshot(window(elapsed + REPORT_PAUSE)).await?;
    snapshot.mesh_failures = failures.total(&snapshot);
    // The window is longer than there was load; the rates are those of the load's time.
    if elapsed <= WINDOW_LONGEST {
        for row in &mut snapshot.workloads {
            row.rps = row.requests as f64 / load.seconds.max(f64::MIN_POSITIVE);
        }
    }
    let document = Document::new(snapshot, load);
    say(&format!(
        "{} requests sent in {:.0} s: {} succeeded, {} failed on purpose, {} failed otherwise; failures of the mesh's own making: {}",
        document.load.sent,
        document.load.seconds,
        document.load.succeeded,
        document.load.own_failures,
        document.load.other_failures + document.load.skipped,
        document.mesh_failures
    ));
    Ok(document)
}

/// Draws the table every second, or prints it now and then where it cannot be drawn again. Does not return by itself.
async fn show(
    options: &Options,
    operator: &mut Operator,
    failures: &mut MeshFailures,
    begun: Instant,
    suggested: &str,
) -> anyhow::Result<()> {
    let mut screen = Screen::stdout();
    if !suggested.is_empty() {
        say(&format!("\ntry from a second terminal (Ctrl-C here ends the demo):\n{suggested}\n"));
    }
    let print_every = if screen.is_live() { DRAW_EVERY } else { PRINT_EVERY };
    let mut ticks = tokio::time::interval(DRAW_EVERY);
    let mut printed = Instant::now();
    let mut silent_since: Option<Instant> = None;
    for tick in 0_u64.. {
        ticks.tick().await;
        let elapsed = begun.elapsed();
        if tick.is_multiple_of(LONG_WINDOW_EVERY)
            && let Ok(whole) = operator.snapshot(WINDOWS[2]).await
        {
            failures.see(elapsed, &whole);
        }
        match operator.snapshot(WINDOWS[0]).await {
            Ok(snapshot) => {
                silent_since = None;
                let first = tick == FIRST_PRINT && !screen.is_live();
                if !options.json && (first || printed.elapsed() >= print_every) {
                    printed = Instant::now();
                    screen.draw(&render(&snapshot, elapsed.as_secs(), failures.so_far()))?;
                }
            }
            // The mesh goes on without its controller, and so does the demo, for a while.
            Err(error) if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE_MAX => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// The commands to try next, with the path where the shell would not find this executable.
fn suggest(options: &Options) -> String {
    let path = std::env::var_os("PATH");
    next_commands(&executable("conduit"), path.as_deref(), options.dir.as_deref())
}

/// Ends the load, but not its pod, and reads what it counted when nothing is under way any more.
async fn end_load(client: &Client) -> anyhow::Result<Counts> {
    let asked = client.clone();
    let log = blocking(move || {
        let world = asked.ps()?;
        let pod = world
            .workload("load")
            .and_then(|load| load.pods.first())
            .context("the load generator is gone")?;
        asked.signal("load", libc::SIGUSR1, false)?;
        Ok(asked.dir().log(&pod.name))
    });
    let log = log.await?;
    let deadline = Instant::now() + LOAD_END_MAX;
    loop {
        let said = std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
        match Counts::last_of(&said) {
            Some(counts) if counts.ended => return Ok(counts),
            _ if Instant::now() > deadline => bail!("the load does not end; see {}", log.display()),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Takes everything down and waits until it is gone.
async fn take_down(client: &Client, mut supervisor: Child) -> anyhow::Result<()> {
    let begun = Instant::now();
    say("taking everything down …");
    let client = client.clone();
    blocking(move || {
        if client.is_running() {
            client.down()?;
        }
        drop(supervisor.stdin.take());
        supervisor.wait()?;
        Ok(())
    })
    .await
    .context("not everything could be taken down")?;
    say(&format!("  done in {:.1} s: no process, namespace or rule is left", begun.elapsed().as_secs_f64()));
    Ok(())
}

/// Failures of the mesh's own making over a run that may be longer than the controller's longest window: each whole window
/// that has passed, and the last one. Windows may overlap, so that a failure may count twice but none is lost.
#[derive(Debug, Default)]
struct MeshFailures {
    windows_passed: u64,
    before: u64,
    last: u64,
}

impl MeshFailures {
    /// Takes in what the longest window says at `elapsed`.
    fn see(&mut self, elapsed: Duration, whole: &Snapshot) {
        let passed = elapsed.as_secs() / WINDOW_LONGEST.as_secs();
        if passed > self.windows_passed {
            self.windows_passed = passed;
            self.before += self.last;
        }
        self.last = whole.mesh_failures;
    }

    fn so_far(&self) -> u64 {
        self.before + self.last
    }

    fn total(&self, last: &Snapshot) -> u64 {
        self.before + self.last.max(last.mesh_failures)
    }
}

/// How many pods each role gets: the load generator one, since its rate is the demo's; the others share the rest, front first.
fn spread(pods: u32) -> Vec<(Role, u32)> {
    let servers = ROLES.len() as u32 - 1;
    let rest = pods.saturating_sub(1).max(servers);
    let replicas = |index: usize| rest / servers + u32::from((servers - 1 - index as u32) < rest % servers);
    ROLES
        .iter()
        .enumerate()
        .map(|(index, role)| (*role, if role.port.is_some() { replicas(index) } else { 1 }))
        .collect()
}

/// One role as a workload: this executable again, with nothing of this process's environment but what finds programs.
fn spec(role: &Role, replicas: u32, executable: &Path) -> Spec {
    let command = [executable.display().to_string(), "demo-app".to_owned(), role.name.to_owned()];
    let mut spec = Spec::new(role.name, command).replicas(replicas);
    spec.env.retain(|(name, _)| name == "PATH");
    spec.cwd = "/".into();
    if let Some((port, protocol)) = role.port {
        spec = spec.port(port, protocol);
    }
    spec
}

/// The shortest window of the controller that covers this time.
fn window(elapsed: Duration) -> u32 {
    let covers = |window: &&u32| Duration::from_secs(u64::from(**window)) >= elapsed;
    WINDOWS.iter().find(covers).copied().unwrap_or(WINDOWS[WINDOWS.len() - 1])
}

/// What to try from a second terminal. The path is given where the shell would not find this executable.
fn next_commands(executable: &Path, path: Option<&OsStr>, dir: Option<&Path>) -> String {
    let found = path.and_then(|path| {
        std::env::split_paths(path).map(|dir| dir.join("conduit")).find(|file| file.is_file())
    });
    let same = found
        .is_some_and(|file| file.canonicalize().ok() == Some(executable.canonicalize().unwrap_or_default()));
    let conduit = if same { "conduit".to_owned() } else { executable.display().to_string() };
    let conduit = match dir {
        Some(dir) => format!("{conduit} --local-dir {}", dir.display()),
        None => conduit,
    };
    ["stat", "edges", "top deploy/web", "tap deploy/voting --response-class failure"]
        .map(|command| format!("  {conduit} {command}"))
        .join("\n")
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
