//! docs/metrics.md: the proxy's metrics from the table that its page is made from, the controller's from its page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use conduit_controller::identity::authority::Authority;
use conduit_controller::identity::material::Material;
use conduit_controller::metrics::series::Aggregate;
use conduit_controller::page::Page;
use conduit_controller::source::kubernetes::Watches;
use conduit_controller::store::Store;
use conduit_logic::ports;
use conduit_proxy::telemetry::METRICS;

use crate::{cell, heading};

/// The page.
pub(crate) fn page() -> String {
    let mut page = heading("Metrics", "the tables of proxy and controller");
    page.push_str(
        "\nProxy and controller answer `GET /metrics` on their admin ports in the OpenMetrics format. A counter's samples end in \
         `_total`, a histogram's in `_bucket`, `_sum` and `_count`.\n\n## conduit-proxy\n\n\
         | metric | kind | what it says | labels |\n| --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let labels = if metric.labels.is_empty() { String::new() } else { format!("`{}`", metric.labels) };
        page.push_str(&format!(
            "| `{}` | {} | {} | {labels} |\n",
            metric.name,
            metric.kind,
            cell(metric.help)
        ));
    }
    page.push_str("\n## conduit-controller\n\n| metric | kind | what it says |\n| --- | --- | --- |\n");
    for (name, kind, help) in described(&controller().encode()) {
        page.push_str(&format!("| `{name}` | {kind} | {} |\n", cell(help)));
    }
    page
}

/// A controller that has just begun, with watches.
fn controller() -> Page {
    let made = Material::generate(ports::TRUST_DOMAIN, SystemTime::now());
    let authority = made.and_then(|material| Authority::new(&material, Duration::from_secs(60)));
    Page {
        store: Store::new(ports::TRUST_DOMAIN),
        aggregate: Arc::new(Aggregate::new(Instant::now())),
        streams: Arc::default(),
        watches: Watches::new(),
        authority: Arc::new(authority.expect("an authority needs nothing but randomness")),
        leads: tokio::sync::watch::channel(true).1,
    }
}

/// Name, kind and description of each metric on a page of OpenMetrics text, by name.
fn described(text: &str) -> Vec<(&str, &str, &str)> {
    let words =
        |line: &'static str| text.lines().filter_map(move |text| text.strip_prefix(line)?.split_once(' '));
    let kinds: BTreeMap<&str, &str> = words("# TYPE ").collect();
    let helps: BTreeMap<&str, &str> = words("# HELP ").collect();
    let help = |name| helps.get(name).map_or("", |help| help.trim_end_matches('.'));
    kinds.into_iter().map(|(name, kind)| (name, kind, help(name))).collect()
}
