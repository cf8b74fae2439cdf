//! The controller's own metrics as OpenMetrics text.

use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::series::Aggregate;
use crate::model::Model;
use crate::store::Store;

/// All metrics as text, at this moment.
#[must_use]
pub fn encode(store: &Store, aggregate: &Aggregate, streams: usize) -> String {
    let mut registry = Registry::default();
    let (services, pods, endpoints) = store.read(Model::sizes);
    let (series, refused) = aggregate.sizes();
    let problems = store.problems().len();
    let rows = [
        ("conduit_controller_services", "Services in the model", services as u64),
        ("conduit_controller_pods", "Pods in the model", pods as u64),
        ("conduit_controller_endpoints", "Endpoints in the model", endpoints as u64),
        ("conduit_controller_source_errors", "Manifests that cannot be understood now", problems as u64),
        ("conduit_controller_discovery_streams", "Proxies that follow discovery", streams as u64),
        ("conduit_controller_series", "Series of the golden metrics", series as u64),
        ("conduit_controller_series_refused", "Reports beyond the limit of series", refused),
        ("process_resident_memory_bytes", "Resident memory", conduit_process::usage::rss_bytes()),
    ];
    for (name, help, value) in rows {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
    let mut page = String::new();
    match text::encode(&mut page, &registry) {
        Ok(()) => page,
        Err(fmt::Error) => String::new(),
    }
}
