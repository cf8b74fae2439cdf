//! `conduit local`: a thin layer over the testbed's client, which does all the work. Here are the arguments, what is printed and the
//! exit codes; following a log and lending the terminal to a command have files of their own. No runtime runs when `supervise` is called.

mod exec;
mod logs;
mod ps;

use std::time::Duration;

use conduit_testbed::client::{Client, Error, Warned};
use conduit_testbed::spec::{ReadyAfter, Spec};
use conduit_testbed::supervisor::{self, Options};

use crate::args::{Connection, LocalKill, LocalRun, LocalScale, LocalVerb, ReadyAfterArg, Supervise};
use crate::output::{self, Exit, Failure};

/// SIGTERM, for a proxy when no other signal is named.
const SIGTERM: i32 = 15;

/// Runs the verb.
///
/// # Errors
/// When no world runs, it refuses, or a command in a pod fails.
pub(crate) fn run(verb: LocalVerb, connection: &Connection) -> Result<(), Failure> {
    let client = Client::new(connection.world());
    match verb {
        LocalVerb::Run(args) => start(*args, &client),
        LocalVerb::Exec(args) => exec::run(args, &client),
        LocalVerb::Ps(args) => ps::run(&args, &client, connection.color),
        LocalVerb::Logs(args) => logs::run(&args, &client),
        LocalVerb::Kill(args) => kill(&args, &client),
        LocalVerb::Scale(args) => scale(&args, &client),
        LocalVerb::Down(_) => down(&client),
        LocalVerb::Supervise(args) => supervise(args, &client),
    }
}

fn start(args: LocalRun, client: &Client) -> Result<(), Failure> {
    let mut options = Options::new(client.dir().clone());
    options.certificate_lifetime.clone_from(&args.certificate_lifetime);
    options.log.clone_from(&args.log);
    let wait = args.wait;
    let spec = spec(args);
    spec.check().map_err(|what| Failure::usage(what, "see `conduit local run --help`"))?;
    let begun = !client.is_running();
    if begun {
        output::remark(&format!("starting a local world in {}", client.dir().path().display()));
    }
    warned(client.ensure(&options).map_err(|error| failure(&error))?);
    let name = spec.name.clone();
    warned(client.run(spec, wait).map_err(|error| failure(&error))?);
    tell(client, &name, wait);
    Ok(())
}

fn spec(args: LocalRun) -> Spec {
    let mut spec = Spec::new(&args.name, args.command).replicas(args.replicas);
    for (name, value) in &args.env {
        spec = spec.env(name, value);
    }
    spec.ports = args.ports;
    spec.unmeshed = args.unmeshed;
    spec.user = args.user;
    spec.service_account = args.service_account;
    spec.skip_inbound = args.skip_inbound_ports;
    spec.skip_outbound = args.skip_outbound_ports;
    spec.restart = args.restart;
    spec.ready_after = match args.ready_after {
        ReadyAfterArg::Listening => ReadyAfter::Listening,
        ReadyAfterArg::None => ReadyAfter::None,
    };
    spec.grace_ms = u64::try_from(args.grace.as_millis()).unwrap_or(u64::MAX);
    if let Some(cwd) = args.cwd {
        spec.cwd = std::path::absolute(&cwd).unwrap_or(cwd);
    }
    spec
}

/// Says what there is now of a workload that was started or scaled. It is a courtesy: that it cannot be asked is no failure.
fn tell(client: &Client, name: &str, wait: Duration) {
    let Ok(world) = client.ps() else { return };
    let Some(workload) = world.workload(name) else { return };
    let pods = workload.pods.iter().filter(|pod| !ps::ended(pod)).count();
    let ready = workload.pods.iter().filter(|pod| pod.ready).count();
    let ports: Vec<String> = workload.ports.iter().map(|port| format!("{name}:{}", port.port)).collect();
    let found = if ports.is_empty() {
        String::new()
    } else {
        format!(", other pods find it at {}", ports.join(", "))
    };
    output::remark(&format!("{name}: {ready} of {pods} pods ready{found}"));
    if ready < pods && !wait.is_zero() {
        output::remark(&format!("`conduit local ps` and `conduit local logs {name}` say what it waits for"));
    }
}

fn kill(args: &LocalKill, client: &Client) -> Result<(), Failure> {
    let done = match (args.signal, args.proxy) {
        (None, false) => client.kill(&args.target),
        (signal, proxy) => client.signal(&args.target, signal.unwrap_or(SIGTERM), proxy),
    };
    done.map_err(|error| failure(&error))
}

fn scale(args: &LocalScale, client: &Client) -> Result<(), Failure> {
    warned(client.scale(&args.name, args.replicas, args.wait).map_err(|error| failure(&error))?);
    tell(client, &args.name, args.wait);
    Ok(())
}

fn down(client: &Client) -> Result<(), Failure> {
    client.down().map_err(|error| failure(&error))?;
    output::remark("the local world has ended; nothing of it is left");
    Ok(())
}

fn supervise(args: Supervise, client: &Client) -> Result<(), Failure> {
    let options = Options {
        certificate_lifetime: args.certificate_lifetime,
        log: args.log,
        detach: args.detach,
        until_stdin_closes: args.until_stdin_closes,
        ..Options::new(client.dir().clone())
    };
    match supervisor::run(&options) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Silent(Exit::Of(u8::try_from(code).unwrap_or(u8::MAX)))),
        Err(error) => {
            // Whoever started it reads this from its log, as it stands.
            output::remark(&error.to_string());
            Err(Failure::Silent(Exit::Of(u8::try_from(error.exit_code()).unwrap_or(1))))
        }
    }
}

fn warned(warning: Warned) {
    if let Some(warning) = warning {
        output::remark(&format!("warning: {warning}"));
    }
}

/// The supervisor's exit code when namespaces are not to be had.
const NO_NAMESPACES: i32 = 3;

/// What the client says, as a failure with an exit code.
pub(crate) fn failure(error: &Error) -> Failure {
    match error {
        Error::NotRunning { dir, .. } => Failure::unreachable(
            format!("no local world runs in {}", dir.display()),
            "`conduit local run NAME -- COMMAND` or `conduit demo` starts one; --dir names another",
        ),
        Error::NotStarted { reason, exit_code: Some(NO_NAMESPACES) } => Failure::unreachable(reason, ""),
        Error::NotStarted { reason, .. } => Failure::unreachable(
            format!("the local world cannot be started: {reason}"),
            "`conduit local logs supervisor` says more",
        ),
        Error::Refused(what) => Failure::problem(what, ""),
        Error::Lost(what) => Failure::unreachable(
            format!("the local world's supervisor does not answer any more: {what}"),
            "it has ended or was killed: see `conduit local logs supervisor`",
        ),
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
