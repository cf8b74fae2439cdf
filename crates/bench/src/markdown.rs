//! The report as a page to read: ratios first, then the medians, with its plots beside it. Pure text.

use std::fmt::Write as _;

use crate::load::Kind;
use crate::plot::{self, Bars};
use crate::processes::Machine;
use crate::report::{Busy, CONDUIT, Case, DIRECT, Memory, Report, Run};

impl Report {
    /// The page; `notes` come first.
    pub(crate) fn markdown(&self, notes: &str) -> String {
        let mut text = String::from("# Benchmark\n\n");
        if !notes.is_empty() {
            text.push_str(notes.trim());
            text.push_str("\n\n## What was measured\n\n");
        }
        self.how(&mut text);
        self.ratios(&mut text);
        self.fixed_rates(&mut text);
        self.most(&mut text);
        self.memories(&mut text);
        self.busy(&mut text);
        self.start_and_handshakes(&mut text);
        text
    }

    /// The plots: name of the file, and what is in it.
    pub(crate) fn plots(&self) -> Vec<(&'static str, String)> {
        let proxies = self.proxies();
        let cpu = self.cases().into_iter().filter(|case| case.kind != Kind::Bulk).map(|case| {
            (case.name(), self.each(&proxies, |name| self.median_of(name, case, Run::cpu_per_unit) * 1e5))
        });
        let latency = self.cases().into_iter().filter(|case| case.rate > 0).map(|case| {
            // Without an answer there is no latency.
            let p50 = |name: &str| {
                self.median_of(name, case, |run| {
                    if run.outcome.succeeded > 0 { run.outcome.p50_us } else { f64::NAN }
                })
            };
            (case.name(), self.each(&proxies, |name| p50(name) - p50(DIRECT)))
        });
        let memory = |state: &str, of: fn(&Memory) -> [u64; 2]| {
            let values = self.memory.iter().map(|memory| mebibytes(of(memory)[0])).collect();
            (state.to_owned(), values)
        };
        let memory = vec![
            memory("idle", |memory| memory.idle),
            memory("after the loads", |memory| memory.after_load),
            memory("with idle connections", |memory| memory.with_connections),
            memory("peak", |memory| memory.peak),
        ];
        let bars = |title, rows| plot::bars(&Bars { title, subjects: &proxies, rows });
        vec![
            ("cpu.svg", bars("CPU seconds of both proxies per 100,000 requests", cpu.collect())),
            ("latency.svg", bars("Median latency that both proxies add, in µs", latency.collect())),
            ("memory.svg", bars("Resident memory of the client's proxy, in MiB", memory)),
        ]
    }

    fn proxies(&self) -> Vec<&str> {
        self.subjects().into_iter().filter(|name| *name != DIRECT).collect()
    }

    fn each(&self, subjects: &[&str], value: impl Fn(&str) -> f64) -> Vec<f64> {
        subjects.iter().map(|name| value(name)).collect()
    }

    fn how(&self, text: &mut String) {
        let Machine { cpu, cores, memory_bytes, kernel } = &self.machine;
        let repeats = self.runs.iter().filter(|run| Some(run.case) == self.cases().first().copied()).count()
            / self.subjects().len().max(1);
        let _ = write!(
            text,
            "Machine: {cpu}, {cores} cores, {:.1} GiB, Linux {kernel}. Conduit {}. Client, server and both proxies share this \
             machine.\nMedians of {repeats} {} of {} s each, subjects interleaved. Latency counts from the time that a request \
             was due (open loop); `direct` has no proxy{}. ",
            *memory_bytes as f64 / f64::from(1 << 30),
            self.version,
            if repeats == 1 { "run" } else { "runs" },
            self.seconds,
            if self.subjects().contains(&"floor") {
                "; `floor` copies bytes over TLS and does nothing else (crates/bench/src/floor.rs)"
            } else {
                ""
            }
        );
        text.push_str(if self.real_time {
            "At fixed rates client, server and proxies were scheduled in real time (SCHED_RR), which takes what else \
             the machine does out of the latencies.\n"
        } else {
            "Nothing was scheduled in real time: high percentiles are the machine's as much as the proxies'.\n"
        });
        text.push_str("\n![CPU](cpu.svg)\n\n![Latency](latency.svg)\n\n![Memory](memory.svg)\n");
    }

    fn ratios(&self, text: &mut String) {
        if !self.subjects().contains(&CONDUIT) || self.proxies().len() < 2 {
            return;
        }
        text.push_str(
            "\n## CPU per request, as a multiple of Conduit's\n\nOf both proxies together; per byte for bulk. Above 1: Conduit \
             needs less.\n",
        );
        self.beside_peers(text, self.cases(), |peer, case| self.cpu_ratio(peer, case));
        text.push_str(
            "\n## Most throughput of Conduit, as a multiple of each peer's\n\nClient and server use the same CPUs. Above 1: Conduit \
             moves more.\n",
        );
        let most = self.cases().into_iter().filter(|case| case.rate == 0).collect();
        self.beside_peers(text, most, |peer, case| self.throughput_ratio(peer, case));
    }

    /// A figure for each load and each peer.
    fn beside_peers(&self, text: &mut String, cases: Vec<Case>, figure: impl Fn(&str, Case) -> Option<f64>) {
        let peers: Vec<&str> = self.proxies().into_iter().filter(|name| *name != CONDUIT).collect();
        let _ =
            writeln!(text, "\n| load | {} |\n| --- |{}", peers.join(" | "), " ---: |".repeat(peers.len()));
        for case in cases {
            let figures = peers.iter().map(|peer| {
                figure(peer, case).map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"))
            });
            let _ = writeln!(text, "| {} | {} |", case.name(), figures.collect::<Vec<_>>().join(" | "));
        }
    }

    fn fixed_rates(&self, text: &mut String) {
        text.push_str(
            "\n## Latency at a fixed rate\n\nIn µs; `added` is the difference to `direct`. CPU: of both proxies, per 100,000 requests.\n\n\
             | load | subject | p50 | p99 | p99.9 | added p50 | added p99 | added p99.9 | CPU s | failed |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for case in self.cases().into_iter().filter(|case| case.rate > 0) {
            for subject in self.subjects_of(case) {
                if !self.works(subject, case) {
                    let nothing = "- | ".repeat(7);
                    let failed = self.failed(subject, case);
                    let _ = writeln!(text, "| {} | {subject} | {nothing}all {failed} |", case.name());
                    continue;
                }
                let of = |value: fn(&Run) -> f64| self.median_of(subject, case, value);
                let quantiles: [fn(&Run) -> f64; 3] =
                    [|run| run.outcome.p50_us, |run| run.outcome.p99_us, |run| run.outcome.p999_us];
                let absolute = quantiles.map(|value| format!("{:.0}", of(value)));
                let added = quantiles.map(|value| match subject {
                    DIRECT => "-".to_owned(),
                    _ => format!("{:.0}", of(value) - self.median_of(DIRECT, case, value)),
                });
                let _ = writeln!(
                    text,
                    "| {} | {subject} | {} | {} | {} | {} |",
                    case.name(),
                    absolute.join(" | "),
                    added.join(" | "),
                    cpu_per_100k(subject, of(Run::cpu_per_unit)),
                    self.failed(subject, case),
                );
            }
        }
    }

    fn most(&self, text: &mut String) {
        text.push_str(
            "\n## Most throughput\n\nEach connection, or call, sends again as soon as it has its answer; client and server use the \
             same CPUs. The name says over how many connections (× calls at once on each).\n\n\
             | load | subject | per second | of direct | per CPU-second of both proxies | CPU s per 100,000 (bulk: per GiB) | failed |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for case in self.cases().into_iter().filter(|case| case.rate == 0) {
            let show = |value: f64| match case.kind {
                Kind::Bulk => format!("{:.0} MB", value / 1e6),
                _ => format!("{value:.0}"),
            };
            for subject in self.subjects_of(case) {
                if !self.works(subject, case) {
                    let failed = self.failed(subject, case);
                    let _ = writeln!(text, "| {} | {subject} | - | - | - | - | all {failed} |", case.name());
                    continue;
                }
                let most = self.median_of(subject, case, Run::per_second);
                let per_unit = self.median_of(subject, case, Run::cpu_per_unit);
                let direct = self.median_of(DIRECT, case, Run::per_second);
                let _ = writeln!(
                    text,
                    "| {} | {subject} | {} | {:.0} % | {} | {} | {} |",
                    case.name(),
                    show(most),
                    100.0 * most / direct.max(f64::MIN_POSITIVE),
                    if subject == DIRECT { "-".to_owned() } else { show(1.0 / per_unit) },
                    cost(subject, case, per_unit),
                    self.failed(subject, case),
                );
            }
        }
    }

    fn memories(&self, text: &mut String) {
        let Some(Memory { connections, .. }) = self.memory.first() else { return };
        let _ = write!(
            text,
            "\n## Resident memory\n\nOf the client's and of the server's proxy, in MiB. Proportional: pages that processes share are \
             divided among them.\n\n| subject | idle | idle, proportional | after the loads | with {connections} idle connections | peak |\n\
             | --- | ---: | ---: | ---: | ---: | ---: |\n"
        );
        for memory in &self.memory {
            let states = [
                memory.idle,
                memory.idle_proportional,
                memory.after_load,
                memory.with_connections,
                memory.peak,
            ];
            let shown =
                states.map(|[client, server]| format!("{:.1} / {:.1}", mebibytes(client), mebibytes(server)));
            let _ = writeln!(text, "| {} | {} |", memory.subject, shown.join(" | "));
        }
    }

    fn busy(&self, text: &mut String) {
        let Some(Busy { rate, .. }) = self.memory.first().and_then(|memory| memory.busy.first()) else {
            return;
        };
        let _ = write!(
            text,
            "\n## Resident memory while all connections are in use\n\nHTTP/1.1 at {rate} requests per second, in MiB, as above: the most \
             while it went on, and what is left 15 s after it.\n\n\
             | subject | connections | under load | after |\n| --- | ---: | ---: | ---: |\n"
        );
        for memory in &self.memory {
            for Busy { connections, under_load, after, .. } in &memory.busy {
                let [under_load, after] = [under_load, after]
                    .map(|[client, server]| format!("{:.1} / {:.1}", mebibytes(*client), mebibytes(*server)));
                let _ = writeln!(text, "| {} | {connections} | {under_load} | {after} |", memory.subject);
            }
        }
    }

    fn start_and_handshakes(&self, text: &mut String) {
        if let Some(starts) = &self.starts {
            let _ = write!(
                text,
                "\n## Start of Conduit's proxy\n\nMedians of {} starts, in ms, with the controller at hand; in brackets the longest.\n\n\
                 | start to certificate | certificate to ready | start to ready |\n| ---: | ---: | ---: |\n\
                 | {:.1} | {:.1} ({:.1}) | {:.1} ({:.1}) |\n",
                starts.times,
                starts.certificate_ms,
                starts.after_certificate_ms,
                starts.after_certificate_max_ms,
                starts.ready_ms,
                starts.ready_max_ms,
            );
        }
        if let Some(found) = &self.handshakes {
            let _ = write!(
                text,
                "\n## Handshakes\n\n{}, both ends with certificates. Those of the proxy are full, each on a connection of its own, from \
                 clients on the same CPUs. In memory both ends are Conduit's own configuration; it resumes no session, as one would skip \
                 the check against the trust anchors in force: the second figure has resumption turned on, to show what that costs.\n\n\
                 | per second | CPU of the server's proxy, µs | CPU of the client, µs | both ends in memory, µs | the same, resumed, µs |\n\
                 | ---: | ---: | ---: | ---: | ---: |\n| {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |\n",
                found.key_exchange,
                found.per_second,
                found.server_cpu_us,
                found.client_cpu_us,
                found.full_us,
                found.resumed_us,
            );
        }
    }
}

fn cost(subject: &str, case: Case, per_unit: f64) -> String {
    match case.kind {
        Kind::Bulk if subject != DIRECT => format!("{:.2}", per_unit * f64::from(1 << 30)),
        Kind::Bulk => "-".to_owned(),
        _ => cpu_per_100k(subject, per_unit),
    }
}

fn cpu_per_100k(subject: &str, per_request: f64) -> String {
    if subject == DIRECT { "-".to_owned() } else { format!("{:.1}", per_request * 1e5) }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
#[path = "markdown_tests.rs"]
mod tests;
