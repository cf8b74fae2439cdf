//! The control plane's manifests, from one template: rendered for `kubectl apply` by the command line, and written as a Helm
//! chart by `cargo xtask docs`. The template language is three things: `${name}`, `#if name` … `#else` … `#end`, and `${labels}`;
//! each has one translation into Helm's, so the two outputs cannot drift apart. Deliberately absent: the API server, and
//! any key: the controller makes its own, so that what is rendered is no secret and is the same each time.

pub mod options;
pub mod template;
pub mod chart;
pub mod remove;

pub use options::{Options, Wrong};

/// The template.
pub(crate) const TEMPLATE: &str = include_str!("control-plane.yaml");

/// The label by which `kubectl apply --prune` knows what is ours.
pub const SELECTOR: &str = "app.kubernetes.io/part-of=conduit";

/// The manifests of the control plane.
///
/// # Errors
/// When an option cannot be meant.
pub fn render(options: &Options) -> Result<String, Wrong> {
    Ok(template::render(TEMPLATE, &options.check()?))
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
