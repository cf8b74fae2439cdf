//! The Helm chart: the same template in Helm's words, with the options as values. `cargo xtask docs` writes it and compares it.

use crate::options::{Options, Value};
use crate::{TEMPLATE, template};

/// Said at the top of every file.
const WRITTEN: &str =
    "# Written by `cargo xtask docs` from crates/install/src/control-plane.yaml. Do not edit.\n";

/// The chart's files, with their paths in it.
#[must_use]
pub fn files() -> Vec<(&'static str, String)> {
    let values = Options::default().values();
    vec![
        ("Chart.yaml", description()),
        ("values.yaml", defaults(&values)),
        ("values.schema.json", schema()),
        ("templates/control-plane.yaml", format!("{WRITTEN}{}", template::helm(TEMPLATE, &values))),
    ]
}

fn description() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{WRITTEN}apiVersion: v2\nname: conduit\ndescription: An ultralight service mesh\ntype: application\n\
         version: {version}\nappVersion: {version}\nkubeVersion: \">=1.28.0-0\"\n"
    )
}

fn defaults(values: &[Value]) -> String {
    let line = |value: &Value| match value.switch {
        true => format!("\n# {}\n{}: {}\n", value.meaning, value.name, value.text),
        false => format!("\n# {}\n{}: \"{}\"\n", value.meaning, value.name, value.text),
    };
    format!("{WRITTEN}{}", values.iter().map(line).collect::<String>())
}

/// The same checks as those of the command line, in Helm's schema.
fn schema() -> String {
    let text = |pattern: &str| format!("{{\"type\": \"string\", \"pattern\": \"{pattern}\"}}");
    let image = text("^[A-Za-z0-9][A-Za-z0-9._/:@-]*$");
    let folder = text("^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+/?$");
    let one_of = |list: &str| format!("{{\"enum\": [{list}]}}");
    let properties = [
        ("ha", "{\"type\": \"boolean\"}".to_owned()),
        ("controllerImage", image.clone()),
        ("proxyImage", image),
        ("imagePullPolicy", one_of("\"Always\", \"IfNotPresent\", \"Never\"")),
        ("trustDomain", text("^[A-Za-z0-9.-]+$")),
        ("logLevel", text("^[A-Za-z0-9_:=,]*$")),
        ("controllerMemory", text("^[1-9][0-9]*(Mi|Gi)$")),
        ("sidecar", one_of("\"native\", \"classic\"")),
        ("clusterNetworks", text("^[A-Za-z0-9.:/,]*$")),
        ("cni", "{\"type\": \"boolean\"}".to_owned()),
        ("cniConfDir", folder.clone()),
        ("cniBinDir", folder),
        ("issuerSecret", text("^([a-z0-9][a-z0-9.-]*)?$")),
        ("trustBundle", text("^([a-z0-9][a-z0-9.-]*)?$")),
        ("global", "{\"type\": \"object\"}".to_owned()),
    ];
    let lines: Vec<String> =
        properties.iter().map(|(name, schema)| format!("    \"{name}\": {schema}")).collect();
    format!(
        "{{\n  \"$schema\": \"http://json-schema.org/draft-07/schema#\",\n  \"type\": \"object\",\n  \
         \"additionalProperties\": false,\n  \"properties\": {{\n{}\n  }}\n}}\n",
        lines.join(",\n")
    )
}
