//! The settings of a pod's proxy: read from the annotations of pod and namespace, each checked by itself. A wrong one is
//! reported and not used, the others are: a typing error in a log level must not stop a rollout, nor take a pod out of the mesh.

use std::fmt;

use conduit_logic::ports;

use crate::{Annotations, names, quantity};

/// Ranges of ports that one setting may list; the redirect rules take no more.
pub const RANGES_MAX: usize = 64;
/// Bytes of one setting's value: longer than any that makes sense, short enough for a message.
const VALUE_BYTES_MAX: usize = 1024;

/// How the proxy runs beside the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sidecar {
    /// An init container that keeps running: starts before and ends after the application (Kubernetes 1.29 and later).
    Native,
    /// A container beside the application's.
    Classic,
}

/// The settings in force for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The proxy's image.
    pub image: String,
    /// When it is pulled.
    pub image_pull_policy: String,
    /// How it runs.
    pub sidecar: Sidecar,
    /// Ports that are not redirected inbound.
    pub skip_inbound: Option<String>,
    /// Ports that are not redirected outbound.
    pub skip_outbound: Option<String>,
    /// Ports whose bytes are not looked at.
    pub opaque_ports: Option<String>,
    /// Resources by their Kubernetes names.
    pub cpu: Amount,
    /// See `cpu`.
    pub memory: Amount,
    /// The log filter.
    pub log: String,
}

impl Settings {
    /// The settings of an image where nothing else is said.
    #[must_use]
    pub fn of_image(image: &str) -> Self {
        let amount = |request: &str| Amount { request: request.to_owned(), limit: None };
        Self {
            image: image.to_owned(),
            image_pull_policy: "IfNotPresent".to_owned(),
            sidecar: Sidecar::Native,
            skip_inbound: None,
            skip_outbound: None,
            opaque_ports: None,
            cpu: amount("10m"),
            memory: amount("16Mi"),
            log: "info".to_owned(),
        }
    }
}

/// What is asked for and what may be used of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// Asked for.
    pub request: String,
    /// May be used.
    pub limit: Option<String>,
}

/// Where a setting stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// On the pod.
    Pod,
    /// On its namespace.
    Namespace,
}

/// A setting that was wrong and was not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The annotation.
    pub setting: String,
    /// Where it stood.
    pub origin: Origin,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.origin {
            Origin::Pod => "pod",
            Origin::Namespace => "namespace",
        };
        write!(formatter, "{} of the {place}: {}; it is not used", self.setting, self.reason)
    }
}

/// Reads the settings: the pod's annotation, else the namespace's, else the mesh's.
#[must_use]
pub fn read(
    pod: &Annotations,
    namespace: &Annotations,
    mesh: &Settings,
    problems: &mut Vec<Problem>,
) -> Settings {
    let unknown = find_unknown(pod, Origin::Pod).chain(find_unknown(namespace, Origin::Namespace));
    problems.extend(unknown);
    let mut reader = Reader { pod, namespace, problems };
    let mut settings = mesh.clone();
    if let Some(sidecar) = reader.read(names::SIDECAR, sidecar) {
        settings.sidecar = sidecar;
    }
    if let Some(image) = reader.read(names::IMAGE, image) {
        settings.image = image;
    }
    if let Some(log) = reader.read(names::LOG_LEVEL, log_filter) {
        settings.log = log;
    }
    settings.skip_inbound = reader.read(names::SKIP_INBOUND, port_ranges).or(settings.skip_inbound);
    settings.skip_outbound = reader.read(names::SKIP_OUTBOUND, port_ranges).or(settings.skip_outbound);
    settings.opaque_ports =
        reader.read(ports::ANNOTATION_OPAQUE_PORTS, port_ranges).or(settings.opaque_ports);
    reader.amount(&mut settings.cpu, names::CPU_REQUEST, names::CPU_LIMIT);
    reader.amount(&mut settings.memory, names::MEMORY_REQUEST, names::MEMORY_LIMIT);
    settings
}

/// Annotations that look like a setting of injection and are none.
fn find_unknown(annotations: &Annotations, origin: Origin) -> impl Iterator<Item = Problem> + '_ {
    let known = |name: &str| {
        names::SETTINGS.iter().any(|(setting, _)| *setting == name) || name == names::PROXY_VERSION
    };
    let ours = |name: &str| names::PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    annotations.keys().filter(move |name| ours(name) && !known(name)).map(move |name| Problem {
        setting: name.clone(),
        origin,
        reason: "there is no such setting".to_owned(),
    })
}

struct Reader<'a> {
    pod: &'a Annotations,
    namespace: &'a Annotations,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// The nearest value that is right; each one that is wrong on the way is reported.
    fn read<T>(&mut self, setting: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        for (annotations, origin) in [(self.pod, Origin::Pod), (self.namespace, Origin::Namespace)] {
            let Some(text) = annotations.get(setting) else { continue };
            let parsed = match text.len() > VALUE_BYTES_MAX {
                true => Err(format!("it is longer than {VALUE_BYTES_MAX} bytes")),
                false => parse(text.trim()),
            };
            match parsed {
                Ok(value) => return Some(value),
                Err(reason) => self.problems.push(Problem { setting: setting.to_owned(), origin, reason }),
            }
        }
        None
    }

    /// Request and limit of one resource. The API server refuses a pod whose request is above its limit, so that must not leave us.
    fn amount(&mut self, amount: &mut Amount, request: &str, limit: &str) {
        let valid = |text: &str| quantity::parse(text).map(|thousandths| (text.to_owned(), thousandths));
        let asked = self.read(request, valid);
        let limited = self.read(limit, valid);
        if let Some((text, _)) = &asked {
            amount.request = text.clone();
        }
        if let Some((text, _)) = &limited {
            amount.limit = Some(text.clone());
        }
        let thousandths = |text: &str| quantity::parse(text).unwrap_or(0);
        let Some(most) = amount.limit.clone() else { return };
        if thousandths(&amount.request) <= thousandths(&most) {
            return;
        }
        if let (Some((text, _)), Some(_)) = (asked, limited) {
            let reason = format!("`{text}` is more than the limit {most}");
            let origin = if self.pod.contains_key(request) { Origin::Pod } else { Origin::Namespace };
            self.problems.push(Problem { setting: request.to_owned(), origin, reason });
        }
        amount.request = most;
    }
}

fn sidecar(text: &str) -> Result<Sidecar, String> {
    match text {
        "native" => Ok(Sidecar::Native),
        "classic" => Ok(Sidecar::Classic),
        other => Err(format!("`{other}` is neither native nor classic")),
    }
}

/// Ports and ranges, `22,9000-9010`, written without blanks. Nothing at all is allowed: it takes back what the namespace says.
fn port_ranges(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.len() > RANGES_MAX {
        return Err(format!("there are more than {RANGES_MAX} ports and ranges"));
    }
    for part in &parts {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        match (port(from), port(to)) {
            (Some(from), Some(to)) if from <= to => {}
            _ => return Err(format!("`{part}` is not a port or a range of ports such as 25-30")),
        }
    }
    Ok(parts.join(","))
}

/// A log filter, as the proxy takes it: levels, alone or by module.
fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let (module, level) =
            part.rsplit_once('=').map_or((None, part), |(module, level)| (Some(module), level));
        let is_module = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
        };
        if !LEVELS.contains(&level) || !module.is_none_or(is_module) {
            return Err(format!("`{part}` is not a level (error, warn, info, debug, trace) or module=level"));
        }
    }
    Ok(text.to_owned())
}

/// An image reference: `[host[:port]/]path[:tag][@sha256:…]`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn image(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not an image reference such as registry.example/conduit-proxy:1.0");
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    let hex = |digest: &str| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digest.is_some_and(|digest| !digest.strip_prefix("sha256:").is_some_and(hex)) {
        return Err(wrong());
    }
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match rest[last..].find(':') {
        Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
        None => (rest, None),
    };
    let tag_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_tag = |tag: &str| {
        (1..=128).contains(&tag.len()) && !tag.starts_with(['.', '-']) && tag.bytes().all(tag_byte)
    };
    let path_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let ends_well = |part: &str| !part.starts_with(['.', '_', '-']) && !part.ends_with(['.', '_', '-']);
    let is_part = |part: &str| !part.is_empty() && ends_well(part) && part.bytes().all(path_byte);
    let parts: Vec<&str> = path.split('/').collect();
    let is_host = |host: &str| {
        let (name, port) = host.split_once(':').unwrap_or((host, "1"));
        is_part(&name.to_ascii_lowercase()) && port.parse::<u16>().is_ok()
    };
    let parts_are_right = parts.iter().enumerate().all(|(index, part)| match index {
        0 if parts.len() > 1 => is_host(part),
        _ => is_part(part),
    });
    if parts_are_right && tag.is_none_or(is_tag) { Ok(text.to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
