//! What the benchmark found, as JSON with every single run, and as Markdown with the medians. Pure text. Deliberately absent:
//! a verdict; the figures are for one machine, which is named.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::load::{Kind, Outcome};
use crate::processes::Machine;

/// What stands in place of a proxy where there is none.
pub(crate) const DIRECT: &str = "direct";

/// All of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Seconds since 1970.
    pub(crate) taken_unix_s: u64,
    /// Where.
    pub(crate) machine: Machine,
    /// Version of Conduit and of this benchmark.
    pub(crate) version: String,
    /// Seconds of each run.
    pub(crate) seconds: u64,
    /// Every run, in the order in which they ran: subjects interleaved.
    pub(crate) runs: Vec<Run>,
    /// Memory of each subject's proxies.
    pub(crate) memory: Vec<Memory>,
}

/// One load on one subject.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// `direct`, `conduit`, or another proxy.
    pub(crate) subject: String,
    /// The load.
    pub(crate) case: Case,
    /// What the client saw.
    pub(crate) outcome: Outcome,
    /// CPU time that the client's proxy used in the run.
    pub(crate) client_cpu_seconds: f64,
    /// CPU time that the server's proxy used in the run.
    pub(crate) server_cpu_seconds: f64,
}

/// A kind of load at a rate; 0: as much as goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// What is sent.
    pub(crate) kind: Kind,
    /// Per second.
    pub(crate) rate: u32,
}

/// Resident memory of the two proxies of a subject, in bytes: client's and server's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The proxy.
    pub(crate) subject: String,
    /// Started, and nothing sent yet.
    pub(crate) idle: [u64; 2],
    /// After all loads.
    pub(crate) after_load: [u64; 2],
    /// With this many idle HTTP/1.1 connections in addition.
    pub(crate) connections: usize,
    /// And what it was then.
    pub(crate) with_connections: [u64; 2],
}

/// The middle one; the mean of the two middle ones; 0 without any.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n => (values[(n - 1) / 2] + values[n / 2]) / 2.0,
    }
}

impl Report {
    /// The names of the subjects, in order.
    fn subjects(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !names.contains(&run.subject.as_str()) {
                names.push(&run.subject);
            }
        }
        names
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for run in &self.runs {
            if !cases.contains(&run.case) {
                cases.push(run.case);
            }
        }
        cases
    }

    fn median_of(&self, subject: &str, case: Case, value: impl Fn(&Run) -> f64) -> f64 {
        let runs = self.runs.iter().filter(|run| run.subject == subject && run.case == case);
        median(runs.map(value).collect())
    }

    /// The medians, as tables.
    pub(crate) fn markdown(&self) -> String {
        let Machine { cpu, cores, memory_bytes, kernel } = &self.machine;
        let repeats = self.runs.iter().filter(|run| Some(run.case) == self.cases().first().copied()).count()
            / self.subjects().len().max(1);
        let mut text = format!(
            "# Benchmark\n\nMachine: {cpu}, {cores} cores, {:.1} GiB, Linux {kernel}. Conduit {}. Client, server and both proxies \
             share this machine.\nMedians of {repeats} runs of {} s each, subjects interleaved. Latency counts from the time that \
             a request was due (open loop); `direct` has no proxy.\n",
            *memory_bytes as f64 / f64::from(1 << 30),
            self.version,
            self.seconds
        );
        self.fixed_rates(&mut text);
        self.most(&mut text);
        self.memories(&mut text);
        text
    }

    fn fixed_rates(&self, text: &mut String) {
        text.push_str(
            "\n## Latency at a fixed rate\n\nIn µs; `added` is the difference to `direct`. CPU: of both proxies, per 100,000 requests.\n\n\
             | load | subject | p50 | p99 | p99.9 | added p50 | added p99 | CPU s | failed |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for case in self.cases().into_iter().filter(|case| case.rate > 0) {
            for subject in self.subjects() {
                let of = |value: fn(&Run) -> f64| self.median_of(subject, case, value);
                let added = |value: fn(&Run) -> f64| match subject {
                    DIRECT => "-".to_owned(),
                    _ => format!("{:.0}", of(value) - self.median_of(DIRECT, case, value)),
                };
                let _ = writeln!(
                    text,
                    "| {} {}/s | {subject} | {:.0} | {:.0} | {:.0} | {} | {} | {} | {} |",
                    name(case.kind),
                    case.rate,
                    of(|run| run.outcome.p50_us),
                    of(|run| run.outcome.p99_us),
                    of(|run| run.outcome.p999_us),
                    added(|run| run.outcome.p50_us),
                    added(|run| run.outcome.p99_us),
                    cpu_per_100k(subject, of(cpu_per_request)),
                    self.failed(subject, case),
                );
            }
        }
    }

    fn most(&self, text: &mut String) {
        text.push_str(
            "\n## Most throughput\n\nEach connection sends again as soon as it has its answer; client and server use the same CPUs.\n\n\
             | load | subject | per second | of direct | per CPU-second of both proxies | CPU s per 100,000 | failed |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for case in self.cases().into_iter().filter(|case| case.rate == 0) {
            let bulk = case.kind == Kind::Bulk;
            let per_second: fn(&Run) -> f64 =
                if bulk { |run| run.outcome.bytes_per_s } else { |run| run.outcome.rps };
            let show =
                |value: f64| if bulk { format!("{:.0} MB", value / 1e6) } else { format!("{value:.0}") };
            for subject in self.subjects() {
                let most = self.median_of(subject, case, per_second);
                let per_cpu = self.median_of(subject, case, |run| {
                    per_second(run) * run.outcome.seconds / cpu(run).max(f64::MIN_POSITIVE)
                });
                let direct = self.median_of(DIRECT, case, per_second);
                let _ = writeln!(
                    text,
                    "| {} | {subject} | {} | {:.0} % | {} | {} | {} |",
                    name(case.kind),
                    show(most),
                    100.0 * most / direct.max(f64::MIN_POSITIVE),
                    if subject == DIRECT { "-".to_owned() } else { show(per_cpu) },
                    if bulk {
                        "-".to_owned()
                    } else {
                        cpu_per_100k(subject, self.median_of(subject, case, cpu_per_request))
                    },
                    self.failed(subject, case),
                );
            }
        }
    }

    fn memories(&self, text: &mut String) {
        let Some(Memory { connections, .. }) = self.memory.first() else { return };
        let _ = write!(
            text,
            "\n## Resident memory\n\nOf the client's and of the server's proxy, in MiB.\n\n\
             | subject | idle | after the loads | with {connections} idle connections |\n| --- | ---: | ---: | ---: |\n"
        );
        for memory in &self.memory {
            let show =
                |[client, server]: [u64; 2]| format!("{:.1} / {:.1}", mebibytes(client), mebibytes(server));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                memory.subject,
                show(memory.idle),
                show(memory.after_load),
                show(memory.with_connections)
            );
        }
    }

    /// All failures, not their median: one is one too many.
    fn failed(&self, subject: &str, case: Case) -> u64 {
        let runs = self.runs.iter().filter(|run| run.subject == subject && run.case == case);
        runs.map(|run| run.outcome.failed).sum()
    }
}

fn cpu(run: &Run) -> f64 {
    run.client_cpu_seconds + run.server_cpu_seconds
}

fn cpu_per_request(run: &Run) -> f64 {
    cpu(run) / (run.outcome.succeeded.max(1) as f64)
}

fn cpu_per_100k(subject: &str, per_request: f64) -> String {
    if subject == DIRECT { "-".to_owned() } else { format!("{:.1}", per_request * 1e5) }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The name of a load, as people say it.
pub(crate) const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "HTTP/1.1",
        Kind::Grpc => "gRPC unary",
        Kind::Echo => "TCP echo",
        Kind::Bulk => "TCP bulk",
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
