//! The supervisor's socket: what each request does. Depends on `state` and `wire`. Deliberately absent: authorisation; who may pass through
//! the directory of the world, its owner, may do everything.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::daemon::Wanted;
use crate::pod::last_line;
use crate::processes::Process;
use crate::spec::{Answer, ControllerAction, Exec, Phase, Pod, Request};
use crate::state::World;
use crate::wire::{Connection, FDS_MAX};

/// The most connections at a time: a command that runs in a pod holds one.
const CONNECTIONS_MAX: usize = 512;
/// How long the controller may take to be ready at the start.
const CONTROLLER_READY_MAX: Duration = Duration::from_secs(20);
/// How long a command in a pod has after SIGTERM, when its caller is gone.
const ABANDONED_GRACE: Duration = Duration::from_secs(2);
/// How long the end of everything may take before the kernel is left to do it.
pub(crate) const CLOSE_MAX: Duration = Duration::from_secs(8);
/// How long an end in good order may take: spreading, the application's and the proxy's grace.
const END_MAX: Duration = Duration::from_secs(60);

/// Answers requests for as long as the world is there.
pub(crate) async fn serve(world: Arc<World>, listener: UnixListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let world = world.clone();
                let tasks = world.tasks.clone();
                tasks.spawn("api", async move {
                    let _permit = permit;
                    if let Err(error) = Box::pin(converse(&world, Connection::new(stream))).await {
                        tracing::debug!(%error, "a connection to the supervisor ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(world: &Arc<World>, mut connection: Connection) -> io::Result<()> {
    while let Some(request) = connection.receive::<Request>().await? {
        let answered = match request {
            Request::Exec(exec) => run_command(world, &exec, &mut connection).await,
            request => answer(world, request).await,
        };
        let answer = answered.unwrap_or_else(|error| Answer::Error(format!("{error:#}")));
        connection.send(&answer).await?;
    }
    Ok(())
}

async fn answer(world: &Arc<World>, request: Request) -> Result<Answer> {
    match request {
        Request::Ping => return ping(world).await,
        Request::Ps => return Ok(Answer::World(world.report())),
        Request::Run { spec, wait_ms } => {
            let name = spec.name.clone();
            let before = ended(world, &name);
            world.run(*spec)?;
            return settle(world, &name, &before, Duration::from_millis(wait_ms)).await;
        }
        Request::Scale { name, replicas, wait_ms } => {
            let before = ended(world, &name);
            world.scale(&name, replicas)?;
            return settle(world, &name, &before, Duration::from_millis(wait_ms)).await;
        }
        Request::Kill { target, signal, proxy } => kill(world, &target, signal, proxy).await?,
        Request::Faults(faults) => world.set_faults(&faults)?,
        Request::Controller(action) => act_on_controller(world, action).await?,
        Request::Down => close(world).await,
        Request::Signal(_) => bail!("no command runs on this connection"),
        Request::Exec(_) => bail!("a command needs its connection"),
    }
    Ok(Answer::Done)
}

async fn ping(world: &World) -> Result<Answer> {
    let Some(controller) = &world.controller.daemon else {
        return Ok(Answer::Warning(
            "there is no conduit-controller beside this executable: pods can only be unmeshed".to_owned(),
        ));
    };
    if !world.until(CONTROLLER_READY_MAX, |_| controller.status().ready).await {
        let problem = controller.status().problem;
        bail!("the controller is not ready. {problem} {}", last_line(&world.dir.controller_log()));
    }
    Ok(Answer::Done)
}

/// The names of a workload's pods that have ended.
fn ended(world: &World, name: &str) -> Vec<String> {
    let report = world.report();
    let pods = report.workload(name).map(|workload| workload.pods.as_slice()).unwrap_or_default();
    pods.iter().filter(|pod| pod.phase == Phase::Ended).map(|pod| pod.name.clone()).collect()
}

/// Waits until the pods of a workload are as many and as ready as wanted, or cannot become so. Pods that had ended `before` do not count.
async fn settle(world: &World, name: &str, before: &[String], wait: Duration) -> Result<Answer> {
    if wait.is_zero() {
        return Ok(Answer::Done);
    }
    let pods = |world: &World| {
        let workload = world.report().workload(name).cloned().unwrap_or_default();
        let pods: Vec<_> = workload.pods.into_iter().filter(|pod| !before.contains(&pod.name)).collect();
        (workload.replicas, pods)
    };
    let settled = |world: &World| {
        let (replicas, pods) = pods(world);
        let is_done = |pod: &&Pod| pod.ready || pod.phase == Phase::Ended;
        pods.iter().all(|pod| pod.phase != Phase::Terminating)
            && pods.iter().filter(is_done).count() >= replicas as usize
    };
    let in_time = world.until(wait, settled).await;
    let (_, pods) = pods(world);
    let has_failed =
        |pod: &&Pod| pod.phase == Phase::Ended && (!pod.problem.is_empty() || pod.exit != Some(0));
    if let Some(pod) = pods.iter().find(has_failed) {
        if !pod.problem.is_empty() {
            bail!("{}: {}", pod.name, pod.problem);
        }
        let last = last_line(&world.dir.log(&pod.name));
        bail!("{} ended with exit code {}: {last}", pod.name, pod.exit.unwrap_or(-1));
    }
    let Some(pod) = pods.iter().find(|pod| !pod.ready && pod.phase != Phase::Ended).filter(|_| !in_time)
    else {
        return Ok(Answer::Done);
    };
    let why = match (pod.problem.as_str(), pod.phase) {
        ("", Phase::Starting) => "its proxy is not ready yet",
        ("", Phase::Running | Phase::Terminating | Phase::Ended) => {
            "it does not listen on all of its ports yet"
        }
        (problem, _) => problem,
    };
    Ok(Answer::Warning(format!("{} is not ready yet: {why}", pod.name)))
}

async fn kill(world: &World, target: &str, signal: Option<i32>, proxy: bool) -> Result<()> {
    if proxy || signal.is_some() {
        let signal = signal.unwrap_or(libc::SIGTERM);
        let pods = world.pods(target)?;
        let mut sent = 0;
        for pod in &pods {
            let (daemon, application) = {
                let life = pod.life();
                (life.proxy.clone(), life.application.clone())
            };
            let result = match (proxy, daemon, application) {
                (true, Some(daemon), _) => daemon.signal(signal),
                (false, _, Some(process)) => process.signal(signal),
                _ => continue,
            };
            sent += usize::from(result.is_ok());
        }
        if sent == 0 {
            bail!("nothing of {target} runs that could get the signal");
        }
        return Ok(());
    }
    // The pods that are there now: a new workload of the same name is not waited for.
    let pods = world.pods(target)?;
    world.end(target)?;
    if !world.until(END_MAX, |_| pods.iter().all(|pod| pod.life().phase == Phase::Ended)).await {
        bail!("{target} has not ended within {END_MAX:?}");
    }
    Ok(())
}

/// Returns when the controller is stopped or ready again; it is not waited for after a kill.
async fn act_on_controller(world: &World, action: ControllerAction) -> Result<()> {
    let controller = world.controller.daemon.as_ref().context("this world has no controller")?;
    match action {
        ControllerAction::Stop => {
            controller.want(Wanted::Held);
            if !world.until(CONTROLLER_READY_MAX, |_| controller.status().process.is_none()).await {
                bail!("the controller has not ended within {CONTROLLER_READY_MAX:?}");
            }
        }
        ControllerAction::Start => {
            controller.want(Wanted::Running);
            ping(world).await?;
        }
        ControllerAction::Kill => controller.signal(libc::SIGKILL).context("the controller")?,
        ControllerAction::Freeze => controller.signal(libc::SIGSTOP).context("the controller")?,
        ControllerAction::Thaw => controller.signal(libc::SIGCONT).context("the controller")?,
    }
    Ok(())
}

/// Ends everything.
pub(crate) async fn close(world: &World) {
    world.close();
    world.until(CLOSE_MAX, World::is_empty).await;
    if let Some(controller) = &world.controller.daemon {
        controller.end(Duration::from_secs(1)).await;
    }
    world.tasks.stop();
}

/// Runs a command in a pod, with the caller's own standard streams, until it ends or the caller is gone.
async fn run_command(world: &World, exec: &Exec, connection: &mut Connection) -> Result<Answer> {
    let fds = connection.take_fds();
    let process = start_command(world, exec, fds)?;
    loop {
        tokio::select! {
            exit = process.ended() => return Ok(Answer::Exited(exit)),
            request = connection.receive::<Request>() => match request {
                Ok(Some(Request::Signal(signal))) => {
                    // It may have ended just now.
                    let _ = process.signal_session(signal);
                }
                Ok(Some(_)) => bail!("only signals can be sent while a command runs"),
                Ok(None) | Err(_) => {
                    process.end(ABANDONED_GRACE).await;
                    bail!("the caller is gone");
                }
            },
        }
    }
}

fn start_command(world: &World, exec: &Exec, fds: Vec<OwnedFd>) -> Result<Process> {
    let Ok([input, output, error]) = <[OwnedFd; FDS_MAX]>::try_from(fds) else {
        bail!("a command needs three file descriptors: input, output and error");
    };
    let program = exec.command.first().context("there is no command")?;
    let pods = world.pods(&exec.target)?;
    let running = pods.iter().find(|pod| pod.life().phase == Phase::Running).or(pods.first());
    let pod = running.with_context(|| format!("no pod of {} runs", exec.target))?;
    let mut command = Command::new(program);
    command.args(&exec.command[1..]).env_clear().envs(exec.env.iter().map(|(k, v)| (k, v)));
    command.env("HOSTNAME", &pod.name).stdin(input).stdout(output).stderr(error);
    pod.start(world, command, &exec.cwd, exec.user.as_deref())
}
