//! `conduit local ps`: the pods of the local world as a table or as JSON.

use std::net::IpAddr;

use conduit_testbed::client::Client;
use conduit_testbed::spec::{Phase, Pod, Workload, World};

use super::failure;
use crate::args::LocalPs;
use crate::output::{self, Align, Cell, Colour, Failure, Format, Paint, Table, Tone};
use crate::units;

/// Runs the verb.
///
/// # Errors
/// When no world runs.
pub(super) fn run(args: &LocalPs, client: &Client, colour: Colour) -> Result<(), Failure> {
    let world = client.ps().map_err(|error| failure(&error))?;
    if args.output.format == Format::Json {
        return output::print(&output::json(&world)?);
    }
    output::print(&render(&world, args.output.format, Paint::stdout(colour)))?;
    if !world.controller.ready {
        output::remark("the controller is not ready: see `conduit local logs controller`");
    }
    Ok(())
}

/// Whether the pod is only there to be read about.
pub(super) fn ended(pod: &Pod) -> bool {
    pod.phase == Phase::Ended
}

fn render(world: &World, format: Format, paint: Paint) -> String {
    let wide = format == Format::Wide;
    let (left, right) = (Align::Left, Align::Right);
    let mut columns =
        vec![("WORKLOAD", left), ("POD", left), ("STATE", left), ("READY", left), ("ADDRESS", left)];
    columns.extend([("PORTS", left), ("PROXY", right), ("RESTARTS", right)]);
    if wide {
        columns.extend([("SERVICE", left), ("ACCOUNT", left), ("COMMAND", left)]);
    }
    columns.push(("NOTE", left));
    let mut table = Table::new(columns);
    for workload in &world.workloads {
        for pod in &workload.pods {
            table.row(row(workload, pod, wide));
        }
        if workload.pods.is_empty() {
            table.row(row(workload, &Pod { name: "-".to_owned(), ..Pod::default() }, wide));
        }
    }
    table.render(paint)
}

fn row(workload: &Workload, pod: &Pod, wide: bool) -> Vec<Cell> {
    let placeholder = pod.name == "-";
    let phase = match pod.phase {
        _ if placeholder => Cell::from("-"),
        Phase::Running => Cell::new(pod.phase.as_str(), Tone::Good),
        Phase::Starting | Phase::Terminating => Cell::new(pod.phase.as_str(), Tone::Warn),
        Phase::Ended => Cell::new(pod.phase.as_str(), Tone::Faint),
    };
    let ready = match pod.ready {
        _ if placeholder || ended(pod) => Cell::from("-"),
        true => Cell::new("yes", Tone::Good),
        false => Cell::new("no", Tone::Warn),
    };
    let proxy = match &pod.proxy {
        Some(proxy) if proxy.pid == 0 => Cell::new("ended", Tone::Bad),
        Some(proxy) => units::bytes(proxy.rss_bytes as f64).into(),
        None if workload.meshed => "-".into(),
        None => Cell::new("unmeshed", Tone::Faint),
    };
    let addresses = |ips: &[IpAddr]| {
        let shown = if wide { ips } else { &ips[..ips.len().min(1)] };
        if shown.is_empty() { "-".to_owned() } else { joined(shown, ",") }
    };
    let port = |port: &conduit_testbed::spec::Port| match port.protocol.as_str() {
        "" => port.port.to_string(),
        protocol => format!("{}:{protocol}", port.port),
    };
    let ports: Vec<String> = workload.ports.iter().map(port).collect();
    let mut cells = vec![
        workload.name.as_str().into(),
        pod.name.as_str().into(),
        phase,
        ready,
        addresses(&pod.ips).into(),
        if ports.is_empty() { "-".into() } else { ports.join(",").into() },
        proxy,
        pod.restarts.to_string().into(),
    ];
    if wide {
        cells.push(addresses(&workload.cluster_ips).into());
        cells.push(workload.service_account.as_str().into());
        cells.push(workload.command.join(" ").chars().take(COMMAND_CHARS_MAX).collect::<String>().into());
    }
    cells.push(note(pod));
    cells
}

/// Longest command that is shown, in characters: a line is for reading.
const COMMAND_CHARS_MAX: usize = 60;

fn joined(ips: &[IpAddr], with: &str) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(with)
}

fn note(pod: &Pod) -> Cell {
    match pod.exit {
        _ if !pod.problem.is_empty() => Cell::new(pod.problem.as_str(), Tone::Bad),
        Some(0) => "exit 0".into(),
        Some(code) => Cell::new(format!("exit {code}"), Tone::Bad),
        None => "".into(),
    }
}

#[cfg(test)]
#[path = "ps_tests.rs"]
mod tests;
