//! The demo's table: one line per workload, drawn again in place on a terminal and printed now and then elsewhere. Pure text
//! except for `Screen`. Deliberately absent: a full screen; what was printed before stays readable above.

use std::io::{self, IsTerminal as _, Write as _};

use super::app::ROLES;
use super::measure::{Snapshot, WorkloadRow, protocols};

/// The width that is assumed where the terminal does not say.
const WIDTH: u16 = 100;
/// Below this share a success rate is worth a look.
const SUCCESS_GOOD: f64 = 0.99;

/// Where the table goes.
#[derive(Debug)]
pub(super) struct Screen {
    /// Whether it can be drawn again in place.
    live: bool,
    colour: bool,
    /// Lines of the table that stands there now.
    drawn: u16,
}

impl Screen {
    /// Standard output, as it is.
    pub(super) fn stdout() -> Self {
        let live = io::stdout().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        let colour = live
            && std::env::var("NO_COLOR").is_ok_and(|set| set.is_empty())
                | std::env::var_os("NO_COLOR").is_none();
        Self { live, colour, drawn: 0 }
    }

    /// Whether the table can be drawn again in place, and so every second.
    pub(super) const fn is_live(&self) -> bool {
        self.live
    }

    /// Draws over what was drawn before.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.live {
            writeln!(out, "{text}")?;
            return out.flush();
        }
        let width = usize::from(crossterm::terminal::size().map_or(WIDTH, |(columns, _)| columns));
        if self.drawn > 0 {
            crossterm::queue!(out, crossterm::cursor::MoveUp(self.drawn))?;
        }
        crossterm::queue!(
            out,
            crossterm::cursor::MoveToColumn(0),
            crossterm::terminal::Clear(crossterm::terminal::ClearType::FromCursorDown)
        )?;
        let mut lines = 0;
        for line in text.lines() {
            let line: String = line.chars().take(width.saturating_sub(1)).collect();
            writeln!(out, "{}", if self.colour { paint(&line) } else { line })?;
            lines += 1;
        }
        self.drawn = lines;
        out.flush()
    }
}

/// Heading bold, and a workload's line yellow when its success is worth a look (marked by `!`).
fn paint(line: &str) -> String {
    let code = match line {
        _ if line.starts_with("WORKLOAD") => "1",
        _ if line.ends_with('!') => "33",
        _ => return line.to_owned(),
    };
    format!("\x1b[{code}m{line}\x1b[0m")
}

/// The table, with a line above on the run and two below on the proxies and on what the mesh failed itself.
pub(super) fn render(snapshot: &Snapshot, elapsed_s: u64, mesh_failures: u64) -> String {
    let mut text = format!(
        "{:<11}{:>5}  {:<9}{:>9}{:>8}{:>9}{:>9}{:>9}  {}\n",
        "WORKLOAD", "PODS", "PROTOCOL", "SUCCESS", "RPS", "P50", "P95", "P99", "MUTUAL TLS"
    );
    let protocols = protocols(&snapshot.edges);
    let order =
        |row: &&WorkloadRow| ROLES.iter().rev().position(|role| role.name == row.name).unwrap_or(usize::MAX);
    let mut rows: Vec<&WorkloadRow> = snapshot.workloads.iter().collect();
    rows.sort_by_key(order);
    for row in rows {
        let protocol = protocols.get(row.name.as_str()).map_or_else(|| "-".to_owned(), |all| all.join(","));
        text.push_str(&line(row, &protocol));
    }
    let proxies = snapshot.proxies.len();
    let most = snapshot.proxies.iter().map(|proxy| proxy.rss_bytes).max().unwrap_or(0);
    let sum: u64 = snapshot.proxies.iter().map(|proxy| proxy.rss_bytes).sum();
    let mean = sum / (proxies.max(1) as u64);
    text.push_str(&format!(
        "\n{proxies} proxies, {} of memory each, {} at most · {elapsed_s} s of load · failures of the mesh's own making: {mesh_failures}\n",
        mebibytes(mean),
        mebibytes(most)
    ));
    text
}

fn line(row: &WorkloadRow, protocol: &str) -> String {
    let WorkloadRow { name, pods, .. } = row;
    if row.requests == 0 {
        let client = if name == "load" { "sends the load" } else { "no traffic yet" };
        return format!(
            "{name:<11}{pods:>5}  {protocol:<9}{:>9}{:>8}{:>9}{:>9}{:>9}  {client}\n",
            "-", "-", "-", "-", "-"
        );
    }
    let latency = |ms: f64| if row.p99_ms > 0.0 { latency(ms) } else { "-".to_owned() };
    let look = if row.success_rate < SUCCESS_GOOD { "  !" } else { "" };
    format!(
        "{name:<11}{pods:>5}  {protocol:<9}{:>9}{:>8.1}{:>9}{:>9}{:>9}  {}{look}\n",
        share(row.success_rate),
        row.rps,
        latency(row.p50_ms),
        latency(row.p95_ms),
        latency(row.p99_ms),
        secured(row.secured_share),
    )
}

fn secured(share_secured: f64) -> String {
    match share_secured {
        all if all >= 1.0 => "yes".to_owned(),
        none if none <= 0.0 => "no".to_owned(),
        part => format!("{} of it", share(part)),
    }
}

/// A share of one with two decimals, never rounded up to 100 %.
fn share(share: f64) -> String {
    format!("{:.2}%", (share.clamp(0.0, 1.0) * 10_000.0 + 1e-6).floor() / 100.0)
}

fn latency(ms: f64) -> String {
    if ms < 0.9995 {
        format!("{:.0}µs", ms * 1e3)
    } else if ms < 999.95 {
        format!("{ms:.1}ms")
    } else {
        format!("{:.1}s", ms / 1e3)
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
