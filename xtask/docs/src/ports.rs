//! docs/ports.md, from `conduit_logic::ports`.

use conduit_logic::ports;

use crate::{cell, heading};

/// The page.
pub(crate) fn page() -> String {
    let mut page = heading("Ports and names", "crates/logic/src/ports.rs");
    page.push_str("\n| port | process | what is served there |\n| --- | --- | --- |\n");
    for port in ports::PORTS {
        page.push_str(&format!("| {} | `{}` | {} |\n", port.port, port.process, cell(port.purpose)));
    }
    page.push_str("\n| name | value |\n| --- | --- |\n");
    let names = [
        ("user that the proxy runs as; its connections are not redirected", ports::PROXY_UID.to_string()),
        ("mark that exempts where there is no second user", ports::PROXY_MARK.to_string()),
        ("audience of service account tokens", ports::TOKEN_AUDIENCE.to_owned()),
        ("trust domain where none is configured", ports::TRUST_DOMAIN.to_owned()),
        ("namespace of the control plane", ports::CONTROLLER_NAMESPACE.to_owned()),
        ("service account of the controller", ports::CONTROLLER_SERVICE_ACCOUNT.to_owned()),
        ("label of a pod that has a proxy (value `true`)", ports::LABEL_MESHED.to_owned()),
        (
            "annotation, of a Service or Pod, that lists opaque ports (`3306,5000-5010`)",
            ports::ANNOTATION_OPAQUE_PORTS.to_owned(),
        ),
    ];
    for (name, value) in names {
        page.push_str(&format!("| {name} | `{value}` |\n"));
    }
    page
}
