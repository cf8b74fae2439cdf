//! What a soak showed, as JSON and as a page with a verdict. Pure. Deliberately absent: the samples of pods that came and went and that
//! nothing went wrong in.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::WINDOWS;
use super::world::LASTING;
use crate::load::Outcome;
use crate::processes::Machine;

/// All of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Seconds since 1970.
    pub(crate) taken_unix_s: u64,
    /// Where.
    pub(crate) machine: Machine,
    /// Conduit's version.
    pub(crate) version: String,
    /// How long.
    pub(crate) seconds: u64,
    /// Of the most that the machine carries.
    pub(crate) share: f64,
    /// How long certificates were good for.
    pub(crate) certificate_lifetime: String,
    /// Of the machine's CPU time, how much was used meanwhile, by whatever.
    pub(crate) busy: f64,
    /// Whether client, servers, proxies and controller were scheduled in real time.
    pub(crate) real_time: bool,
    /// The loads, all at once.
    pub(crate) loads: Vec<Load>,
    /// The proxies that were there from start to end, and those in which something went wrong.
    pub(crate) proxies: Vec<Proxy>,
    /// How often the number of replicas was changed.
    pub(crate) scalings: u64,
    /// Taps that were opened and closed.
    pub(crate) taps: u64,
    /// What they showed.
    pub(crate) tap_events: u64,
    /// How often a proxy had to be started again.
    pub(crate) restarts: u64,
}

/// One load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    /// What it is.
    pub(crate) name: String,
    /// Per second, when all send as much as goes.
    pub(crate) most: f64,
    /// Per second.
    pub(crate) rate: u32,
    /// What the client saw, in equal parts of the time.
    pub(crate) windows: Vec<Outcome>,
}

/// A proxy over time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Proxy {
    /// Its pod.
    pub(crate) pod: String,
    /// In the order of time.
    pub(crate) samples: Vec<Sample>,
}

/// A proxy at one time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Seconds since the start.
    pub(crate) at_s: u64,
    /// Resident memory.
    pub(crate) rss_bytes: u64,
    /// The same, each page divided by the number of processes that share it.
    pub(crate) pss_bytes: u64,
    /// Requests and TCP connections that ended.
    pub(crate) requests: u64,
    /// Of these failed by the mesh's making.
    pub(crate) mesh_failures: u64,
    /// Certificates installed.
    pub(crate) certificates: u64,
}

impl Sample {
    /// The counts in a proxy's metrics.
    pub(crate) fn of_metrics(text: &str) -> Self {
        let sum = |names: &[&str], part: &str| {
            let lines = text.lines().filter(|line| {
                names
                    .iter()
                    .any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
                    && line.contains(part)
            });
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        let ended = ["conduit_proxy_requests_total", "conduit_proxy_tcp_connections_closed_total"];
        Self {
            requests: sum(&ended, ""),
            mesh_failures: sum(&ended, "outcome=\"mesh_failure\""),
            certificates: sum(&["conduit_proxy_certificate_rotations_total"], ""),
            ..Self::default()
        }
    }
}

impl Proxy {
    /// All failures of the mesh's making that it counted.
    pub(crate) fn mesh_failures(&self) -> u64 {
        self.samples.iter().map(|sample| sample.mesh_failures).max().unwrap_or(0)
    }

    /// Mean resident memory in the samples of one window, in bytes.
    fn mean_rss(&self, seconds: u64, window: u32) -> f64 {
        let of = |sample: &&Sample| sample.at_s * u64::from(WINDOWS) / seconds.max(1) == u64::from(window);
        let rss: Vec<f64> = self.samples.iter().filter(of).map(|sample| sample.rss_bytes as f64).collect();
        rss.iter().sum::<f64>() / rss.len().max(1) as f64
    }
}

impl Figures {
    /// Requests that failed at the client or that a proxy counted as failed by the mesh, and proxies that ended. Nothing else can
    /// fail: servers answer for as long as they are asked.
    pub(crate) fn errors(&self) -> u64 {
        let failed: u64 = self.loads.iter().flat_map(|load| &load.windows).map(|window| window.failed).sum();
        let counted = self.proxies.iter().map(Proxy::mesh_failures).sum::<u64>();
        failed.max(counted) + self.restarts
    }

    /// Why the last request of a load failed, where one did.
    pub(crate) fn why(&self) -> String {
        let failures = self.loads.iter().flat_map(|load| {
            load.windows.iter().filter_map(move |window| Some((&load.name, window.last_failure.as_ref()?)))
        });
        failures.fold(String::new(), |text, (load, why)| text + &format!("; {load}: {why}"))
    }

    /// The page.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Soak\n\n");
        let Machine { cpu, cores, memory_bytes, kernel } = &self.machine;
        let certificates =
            self.proxies.iter().flat_map(|proxy| &proxy.samples).map(|sample| sample.certificates);
        let _ = write!(
            text,
            "`cargo xtask soak` on {cpu}, {cores} cores, {:.0} GiB, Linux {kernel}; Conduit {}. For {} minutes the mesh carried {:.0} % of \
             the most throughput, or less where that took more of the CPU time without churn and taps; all loads at once, client, servers \
             and proxies on the same cores{}, of whose time {:.0} % was used in the end. Meanwhile the number of the \
             server's replicas was changed {} times, certificates lived {} (the client's proxy got {}), and {} taps were opened and \
             closed, which showed {} events.\n\n**{}** errors of the mesh's making: requests that failed at the client, or that a proxy \
             counts as failed by the mesh; {} proxies had to be started again.\n",
            *memory_bytes as f64 / f64::from(1 << 30),
            self.version,
            self.seconds / 60,
            100.0 * self.share,
            if self.real_time { ", scheduled in real time" } else { "" },
            100.0 * self.busy,
            self.scalings,
            self.certificate_lifetime,
            certificates.max().unwrap_or(0),
            self.taps,
            self.tap_events,
            self.errors(),
            self.restarts,
        );
        self.memories(&mut text);
        self.latencies(&mut text);
        text
    }

    fn memories(&self, text: &mut String) {
        text.push_str(
            "\n## Memory\n\nResident, in MiB, of the proxies that were there from start to end: means of the first and the last sixth of the \
             time, and the most that a look every ten seconds found.\n\n\
             | proxy of | requests and connections | first | last | most | most, proportional | last ÷ first |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
        for proxy in self.proxies.iter().filter(|proxy| LASTING.contains(&proxy.pod.as_str())) {
            let [first, last] = [0, WINDOWS - 1].map(|window| proxy.mean_rss(self.seconds, window));
            let most = |of: fn(&Sample) -> u64| proxy.samples.iter().map(of).max().unwrap_or(0);
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
                proxy.pod,
                most(|sample| sample.requests),
                mebibytes(first),
                mebibytes(last),
                mebibytes(most(|sample| sample.rss_bytes) as f64),
                mebibytes(most(|sample| sample.pss_bytes) as f64),
                last / first,
            );
        }
    }

    fn latencies(&self, text: &mut String) {
        let _ = write!(
            text,
            "\n## Latency\n\nIn µs, from the time that a request was due, in each sixth of the time ({} s).\n\n\
             | load | most per second | per second | requests | failed | p50 | p99 | last p99 ÷ first |\n\
             | --- | ---: | ---: | ---: | ---: | --- | --- | ---: |\n",
            self.seconds / u64::from(WINDOWS)
        );
        for Load { name, most, rate, windows } in &self.loads {
            let each = |value: fn(&Outcome) -> f64| {
                windows.iter().map(|window| format!("{:.0}", value(window))).collect::<Vec<_>>().join(", ")
            };
            let p99 = |window: Option<&Outcome>| window.map_or(f64::NAN, |window| window.p99_us);
            let _ = writeln!(
                text,
                "| {name} | {most:.0} | {rate} | {} | {} | {} | {} | {:.2} |",
                windows.iter().map(|window| window.succeeded).sum::<u64>(),
                windows.iter().map(|window| window.failed).sum::<u64>(),
                each(|window| window.p50_us),
                each(|window| window.p99_us),
                p99(windows.last()) / p99(windows.first()),
            );
        }
    }
}
