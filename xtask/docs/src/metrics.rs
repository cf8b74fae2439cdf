//! docs/metrics.md, from the table that the proxy's `/metrics` is made from.

use conduit_proxy::telemetry::METRICS;

use crate::{cell, heading};

/// The page.
pub(crate) fn page() -> String {
    let mut page = heading("Metrics", "crates/proxy/src/telemetry/encode.rs");
    page.push_str(
        "\nThe proxy answers `GET /metrics` on its admin port in the OpenMetrics format. A counter's samples end in `_total`, \
         a histogram's in `_bucket`, `_sum` and `_count`.\n\n| metric | kind | what it says | labels |\n| --- | --- | --- | --- |\n",
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
    page
}
