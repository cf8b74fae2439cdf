//! The controller's own metrics as OpenMetrics text.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::identity::authority::Authority;
use crate::identity::service::unix_s;
use crate::metrics::series::Aggregate;
use crate::model::Model;
use crate::source::kubernetes::{Watch, Watches};
use crate::store::Store;

/// What the page is made of.
pub struct Page {
    /// The model.
    pub store: Arc<Store>,
    /// What proxies report.
    pub aggregate: Arc<Aggregate>,
    /// Discovery streams that are open.
    pub streams: Arc<AtomicUsize>,
    /// What is counted of the API server's watches.
    pub watches: Arc<Watches>,
    /// Whose anchors and issuer there are.
    pub authority: Arc<Authority>,
    /// Whether this replica writes.
    pub leads: watch::Receiver<bool>,
}

/// Name, help and value.
type Row = (&'static str, &'static str, u64);
/// Name, help and where the value is.
type WatchRow = (&'static str, &'static str, fn(&Watch) -> u64);

impl Page {
    /// All metrics as text, at this moment.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut registry = Registry::default();
        for (name, help, value) in self.rows() {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
        self.watches(&mut registry);
        let mut page = String::new();
        match text::encode(&mut page, &registry) {
            Ok(()) => page,
            Err(std::fmt::Error) => String::new(),
        }
    }

    fn rows(&self) -> [Row; 12] {
        let (services, pods, endpoints) = self.store.read(Model::sizes);
        let (series, refused) = self.aggregate.sizes();
        let problems = self.store.problems().len();
        let streams = self.streams.load(Ordering::Relaxed);
        let (anchors, issuer) = (self.authority.anchors(), unix_s(self.authority.issuer_not_after()));
        let ends = anchors.iter().filter_map(|der| {
            let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
            u64::try_from(parsed.validity().not_after.timestamp()).ok()
        });
        [
            ("conduit_controller_services", "Services in the model", services as u64),
            ("conduit_controller_pods", "Pods in the model", pods as u64),
            ("conduit_controller_endpoints", "Endpoints in the model", endpoints as u64),
            (
                "conduit_controller_source_errors",
                "Manifests or objects that cannot be understood now",
                problems as u64,
            ),
            ("conduit_controller_discovery_streams", "Proxies that follow discovery", streams as u64),
            ("conduit_controller_series", "Series of the golden metrics", series as u64),
            ("conduit_controller_series_refused", "Reports beyond the limit of series", refused),
            (
                "conduit_controller_leader",
                "Whether this replica takes the steps of rotations: 1 or 0",
                u64::from(*self.leads.borrow()),
            ),
            (
                "conduit_controller_trust_anchors",
                "Trust anchors in force: 2 while one is being rotated",
                anchors.len() as u64,
            ),
            (
                "conduit_controller_trust_anchor_not_after_seconds",
                "When the first trust anchor ends, in Unix time",
                ends.min().unwrap_or(0),
            ),
            ("conduit_controller_issuer_not_after_seconds", "When the issuer ends, in Unix time", issuer),
            ("process_resident_memory_bytes", "Resident memory", conduit_process::usage::rss_bytes()),
        ]
    }

    fn watches(&self, registry: &mut Registry) {
        let counters: [WatchRow; 4] = [
            ("conduit_controller_watch_events", "Changes that the API server told, by kind", |watch| {
                watch.events.load(Ordering::Relaxed)
            }),
            ("conduit_controller_watch_lists", "Times that all objects of a kind were listed", |watch| {
                watch.lists.load(Ordering::Relaxed)
            }),
            ("conduit_controller_watch_errors", "Times that a list or watch failed, by kind", |watch| {
                watch.errors.load(Ordering::Relaxed)
            }),
            ("conduit_controller_watch_refused", "Objects that could not be understood, by kind", |watch| {
                watch.refused.load(Ordering::Relaxed)
            }),
        ];
        for (name, help, value) in counters {
            let family = Family::<[(&str, &str); 1], Gauge>::default();
            for (kind, watch) in self.watches.all() {
                family
                    .get_or_create(&[("kind", kind.name())])
                    .set(i64::try_from(value(watch)).unwrap_or(i64::MAX));
            }
            registry.register(name, help, family);
        }
        let heard = Family::<[(&str, &str); 1], Gauge>::default();
        for (kind, watch) in self.watches.all() {
            heard.get_or_create(&[("kind", kind.name())]).set(watch.heard_unix_s.load(Ordering::Relaxed));
        }
        let help = "When a list or a change came last, by kind, in Unix time";
        registry.register("conduit_controller_watch_heard_seconds", help, heard);
    }
}
