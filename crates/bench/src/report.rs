//! What the benchmark found: every single run, and what is made of them for a reader. Pure data. Deliberately absent: tables and
//! plots, and a verdict; the figures are for one machine, which is named.

use serde::{Deserialize, Serialize};

use crate::handshakes::Handshakes;
use crate::load::{Kind, Outcome};
use crate::processes::Machine;
use crate::start::Starts;

/// What stands in place of a proxy where there is none.
pub(crate) const DIRECT: &str = "direct";
/// Conduit's name as a subject.
pub(crate) const CONDUIT: &str = "conduit";

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
    /// Whether load at a fixed rate, its server and the proxies were scheduled in real time.
    pub(crate) real_time: bool,
    /// Every run, in the order in which they ran: subjects interleaved.
    pub(crate) runs: Vec<Run>,
    /// Memory of each subject's proxies.
    pub(crate) memory: Vec<Memory>,
    /// How fast Conduit's proxy starts.
    #[serde(default)]
    pub(crate) starts: Option<Starts>,
    /// What its handshakes cost.
    #[serde(default)]
    pub(crate) handshakes: Option<Handshakes>,
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

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// What is sent.
    pub(crate) kind: Kind,
    /// Per second; 0: as much as goes.
    pub(crate) rate: u32,
    /// Over how many connections.
    pub(crate) connections: usize,
    /// HTTP/2 requests and gRPC calls under way at once on each connection, at most.
    pub(crate) calls: usize,
    /// Whether each request makes a new connection.
    pub(crate) fresh: bool,
    /// Whether the server has no proxy; that says nothing of other subjects than Conduit.
    #[serde(default)]
    pub(crate) unmeshed: bool,
}

impl Case {
    /// The name of a load, as people say it.
    pub(crate) fn name(self) -> String {
        let Self { kind, rate, connections, calls, fresh, unmeshed } = self;
        let kind = match kind {
            Kind::Http => "HTTP/1.1",
            Kind::Http2 => "HTTP/2",
            Kind::Grpc => "gRPC unary",
            Kind::Stream => "gRPC messages",
            Kind::Echo => "TCP echo",
            Kind::Bulk => "TCP bulk",
        };
        match (self.kind, rate) {
            _ if fresh => format!("{kind}, new connections"),
            _ if unmeshed => format!("{kind} to a server without a proxy, {connections}"),
            (_, 1..) => format!("{kind} {rate}/s"),
            (Kind::Http2 | Kind::Grpc | Kind::Stream, 0) => format!("{kind}, {connections} × {calls}"),
            (_, 0) => format!("{kind}, {connections}"),
        }
    }
}

/// Memory of the two proxies of a subject, in bytes: client's and server's. Resident, where nothing else is said.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The proxy.
    pub(crate) subject: String,
    /// Started, and nothing sent yet.
    pub(crate) idle: [u64; 2],
    /// The same, each page divided by the number of processes that share it.
    pub(crate) idle_proportional: [u64; 2],
    /// After all loads.
    pub(crate) after_load: [u64; 2],
    /// With this many idle HTTP/1.1 connections in addition.
    pub(crate) connections: usize,
    /// And what it was then.
    pub(crate) with_connections: [u64; 2],
    /// With connections that are all in use.
    #[serde(default)]
    pub(crate) busy: Vec<Busy>,
    /// The most that there ever was.
    pub(crate) peak: [u64; 2],
}

/// Memory under a load of HTTP/1.1 at a fixed rate.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Busy {
    /// Over so many connections, all of which are used.
    pub(crate) connections: usize,
    /// Requests per second.
    pub(crate) rate: u32,
    /// The most that looks while it went on found.
    pub(crate) under_load: [u64; 2],
    /// When the connections are closed and the proxies have had time to give memory back.
    pub(crate) after: [u64; 2],
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
    pub(crate) fn subjects(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !names.contains(&run.subject.as_str()) {
                names.push(&run.subject);
            }
        }
        names
    }

    /// The loads, in order.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for run in &self.runs {
            if !cases.contains(&run.case) {
                cases.push(run.case);
            }
        }
        cases
    }

    /// The median over all runs of one load on one subject.
    pub(crate) fn median_of(&self, subject: &str, case: Case, value: impl Fn(&Run) -> f64) -> f64 {
        let runs = self.runs.iter().filter(|run| run.subject == subject && run.case == case);
        median(runs.map(value).collect())
    }

    /// The subjects that had this load.
    pub(crate) fn subjects_of(&self, case: Case) -> Vec<&str> {
        let had = |name: &&str| self.runs.iter().any(|run| run.subject == *name && run.case == case);
        self.subjects().into_iter().filter(had).collect()
    }

    /// Whether any request of this load got through.
    pub(crate) fn works(&self, subject: &str, case: Case) -> bool {
        self.median_of(subject, case, Run::per_second) > 0.0
    }

    /// All failures, not their median: one is one too many.
    pub(crate) fn failed(&self, subject: &str, case: Case) -> u64 {
        let runs = self.runs.iter().filter(|run| run.subject == subject && run.case == case);
        runs.map(|run| run.outcome.failed).sum()
    }

    /// CPU time of a peer's proxies for what Conduit's do with one second of it; `None` where one of them did nothing.
    pub(crate) fn cpu_ratio(&self, subject: &str, case: Case) -> Option<f64> {
        let [theirs, ours] = [subject, CONDUIT].map(|name| self.median_of(name, case, Run::cpu_per_unit));
        usable(theirs / ours)
    }

    /// What Conduit moves for each request, or byte, that a peer does; `None` where one of them moved nothing.
    pub(crate) fn throughput_ratio(&self, subject: &str, case: Case) -> Option<f64> {
        let [theirs, ours] = [subject, CONDUIT].map(|name| self.median_of(name, case, Run::per_second));
        usable(ours / theirs)
    }
}

fn usable(ratio: f64) -> Option<f64> {
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

impl Run {
    /// CPU time of both proxies.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.client_cpu_seconds + self.server_cpu_seconds
    }

    /// CPU seconds of both proxies per request, or per byte for bulk.
    pub(crate) fn cpu_per_unit(&self) -> f64 {
        let units = match self.case.kind {
            Kind::Bulk => self.outcome.bytes_per_s * self.outcome.seconds,
            _ => self.outcome.succeeded as f64,
        };
        self.cpu_seconds() / units
    }

    /// Requests, or bytes for bulk, per second.
    pub(crate) fn per_second(&self) -> f64 {
        if self.case.kind == Kind::Bulk { self.outcome.bytes_per_s } else { self.outcome.rps }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
pub(crate) mod tests;
