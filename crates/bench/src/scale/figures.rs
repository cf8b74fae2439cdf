//! What was measured, as JSON and as a table. The table stands in docs/scale.md between two marks; what stands around it is written by
//! hand. Pure but for the two files.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::processes::Machine;

/// Where the table begins and ends in docs/scale.md.
const MARKS: [&str; 2] = ["<!-- written by `cargo xtask scale` -->\n", "<!-- end -->\n"];

/// All of it.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Figures {
    /// Seconds since 1970.
    pub(crate) taken_unix_s: u64,
    /// Where.
    pub(crate) machine: Machine,
    /// The machine's load before we began: 1, 5 and 15 minutes.
    pub(crate) load_average: String,
    /// Conduit's version.
    pub(crate) version: String,
    /// The API server's.
    pub(crate) kubernetes: String,
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
    pub(crate) proxies: usize,
    /// Services that each proxy reported traffic to.
    pub(crate) edges: usize,
    /// The controller alone, from its start.
    pub(crate) start: Start,
    /// After all proxies have started at once.
    pub(crate) connected: Connected,
    /// With all proxies connected and nothing going on.
    pub(crate) rest: Running,
    /// With traffic reported by all of them.
    pub(crate) traffic: Running,
    /// Changes, by the kind of service.
    pub(crate) changes: Vec<Change>,
    /// The controller killed with all proxies connected.
    pub(crate) storm: Storm,
}

/// A start.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Start {
    pub(crate) ready_seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) peak_bytes: u64,
}

/// All proxies, started at once.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Connected {
    /// Services that a proxy follows.
    pub(crate) followed: usize,
    /// From their start until each had its certificate and was told of all that it follows.
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) peak_bytes: u64,
    /// What a proxy added to the resident memory.
    pub(crate) proxy_bytes: u64,
}

/// The controller over some time.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Running {
    pub(crate) seconds: f64,
    /// Share of one CPU.
    pub(crate) cpu: f64,
    pub(crate) rss_bytes: u64,
    /// Share of one CPU that the simulated proxies took.
    pub(crate) generator_cpu: f64,
}

/// Changes to one kind of service; all but the latencies are means of one change.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Change {
    pub(crate) services: String,
    pub(crate) changes: u32,
    /// Proxies that follow the service.
    pub(crate) followers: f64,
    /// Endpoints that it has.
    pub(crate) endpoints: f64,
    /// From the request to the API server to a proxy that knows, over all changes and proxies.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Of that, until the API server had answered.
    pub(crate) api_p50_ms: f64,
    /// CPU of the controller beyond that at rest.
    pub(crate) cpu_ms: f64,
    /// CPU of the simulated proxies beyond that at rest.
    pub(crate) generator_cpu_ms: f64,
    /// Messages to all proxies together.
    pub(crate) bytes: f64,
}

/// From the kill on.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Storm {
    pub(crate) ready_seconds: f64,
    pub(crate) served_p50_seconds: f64,
    pub(crate) served_p99_seconds: f64,
    pub(crate) served_max_seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) rss_bytes: u64,
}

impl Figures {
    /// The tables.
    pub(crate) fn markdown(&self) -> String {
        let Machine { cpu, cores, memory_bytes, kernel } = &self.machine;
        let mut text = format!(
            "`cargo xtask scale --services {} --endpoints {} --proxies {}` on {cpu}, {cores} cores, {:.0} GiB, Linux {kernel}; \
             Conduit {}, Kubernetes {}. Load of the machine before: {}.\n\n\
             | of the controller | | memory |\n| --- | --- | ---: |\n",
            self.services,
            self.endpoints,
            self.proxies,
            *memory_bytes as f64 / f64::from(1 << 30),
            self.version,
            self.kubernetes,
            self.load_average
        );
        let (start, connected, storm) = (&self.start, &self.connected, &self.storm);
        let thousands = self.proxies as f64 / 1000.0;
        let cpu_of = |running: &Running| {
            format!("{:.1} % of a core for 1,000 proxies", 100.0 * running.cpu / thousands)
        };
        let mut row =
            |what: &str, says: String, memory: String| _ = writeln!(text, "| {what} | {says} | {memory} |");
        row(
            "cold start",
            format!("ready after {:.1} s ({:.1} s of CPU)", start.ready_seconds, start.cpu_seconds),
            format!("{}, peak {}", mib(start.rss_bytes), mib(start.peak_bytes)),
        );
        row(
            "all proxies start at once",
            format!(
                "certified and told of {} services each after {:.1} s ({:.1} s of CPU)",
                connected.followed, connected.seconds, connected.cpu_seconds
            ),
            format!("{}, peak {}", mib(connected.rss_bytes), mib(connected.peak_bytes)),
        );
        row("a proxy", "at rest".to_owned(), format!("{:.1} KiB", connected.proxy_bytes as f64 / 1024.0));
        row("at rest", cpu_of(&self.rest), mib(self.rest.rss_bytes));
        row(
            &format!("reports of traffic on {} edges each", self.edges),
            cpu_of(&self.traffic),
            mib(self.traffic.rss_bytes),
        );
        row(
            "killed, and started at once",
            format!(
                "ready after {:.1} s; proxies served again after {:.1} s (p50), {:.1} s (p99), {:.1} s (max); {:.1} s of CPU",
                storm.ready_seconds,
                storm.served_p50_seconds,
                storm.served_p99_seconds,
                storm.served_max_seconds,
                storm.cpu_seconds
            ),
            format!("{}, peak {}", mib(storm.rss_bytes), mib(storm.peak_bytes)),
        );
        self.of_changes(&mut text);
        text
    }

    fn of_changes(&self, text: &mut String) {
        text.push_str(
            "\nOne endpoint of a service changes; times from the request to the API server until a proxy knows, over all changes and all proxies \
             concerned.\n\n| service | endpoints | proxies concerned | p50 ms | p99 ms | max ms | API server p50 ms | controller CPU ms | \
             of the proxies' CPU ms | sent |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for change in &self.changes {
            _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
                change.services,
                change.endpoints,
                change.followers,
                change.p50_ms,
                change.p99_ms,
                change.max_ms,
                change.api_p50_ms,
                change.cpu_ms,
                change.generator_cpu_ms,
                if change.bytes < 1e6 {
                    format!("{:.1} kB", change.bytes / 1e3)
                } else {
                    format!("{:.1} MB", change.bytes / 1e6)
                },
            );
        }
    }

    /// Writes scale.json into the folder, and the tables between the marks of scale.md.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("scale.json"), serde_json::to_string_pretty(self)? + "\n")?;
        let page = folder.join("scale.md");
        let text = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        let context = || format!("{} lacks the marks between which the tables stand", page.display());
        let (before, rest) = text.split_once(MARKS[0]).with_context(context)?;
        let (_, after) = rest.split_once(MARKS[1]).with_context(context)?;
        fs::write(&page, [before, MARKS[0], &self.markdown(), MARKS[1], after].concat())?;
        Ok(())
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
