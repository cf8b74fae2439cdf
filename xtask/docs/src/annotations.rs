//! docs/annotations.md: the settings of injection, from `conduit-inject`.

use conduit_inject::names::SETTINGS;

use crate::{cell, heading};

/// The page.
pub(crate) fn page() -> String {
    let mut page = heading("Annotations", "crates/inject/src/names.rs");
    page.push_str(
        "\nOn a namespace, for all of its pods, or on a pod (in a workload: on its pod template), which goes before the namespace. \
         What a wrong value leads to is told in [kubernetes.md](kubernetes.md).\n\n| annotation | takes |\n| --- | --- |\n",
    );
    for (name, takes) in SETTINGS {
        page.push_str(&format!("| `{name}` | {} |\n", cell(takes)));
    }
    page
}
