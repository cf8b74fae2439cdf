//! Logs: lines to stderr, as text or JSON, with a filter that can be changed while the process runs.
//! It depends on tracing-subscriber and on nothing of ours. Deliberately absent: files, rotation and sampling, which belong to
//! what collects stderr, the environment (the filter is an argument), and filters by span or field, whose regular expressions
//! were a tenth of the proxy.

use std::io::IsTerminal;
use std::str::FromStr as _;

use tracing::Subscriber;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The longest filter accepted, in bytes: a filter is a handful of directives, and it can come from the admin port.
pub const FILTER_BYTES_MAX: usize = 1024;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: one line each, coloured when stderr is a terminal and NO_COLOR is unset.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// Why a filter or a subscriber was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no filter.
    #[error(
        "not a log filter: {0}; write a level such as `info`, or directives such as `info,conduit_proxy=debug`"
    )]
    Filter(#[from] ParseError),
    /// The text is longer than [`FILTER_BYTES_MAX`].
    #[error("the log filter has {0} bytes, more than the {FILTER_BYTES_MAX} allowed; write fewer directives")]
    TooLong(usize),
    /// Logs were set up before, in this process.
    #[error("logs were already set up in this process; call logs::init once, from main")]
    AlreadySetUp,
    /// The subscriber that the filter belonged to is gone.
    #[error("the log filter cannot be changed: its subscriber is gone; restart the process")]
    Gone,
}

/// The filter in force. Clones share it.
#[derive(Clone, Debug)]
pub struct LogLevel(reload::Handle<Targets, Registry>);

impl LogLevel {
    /// Puts another filter in force at once.
    ///
    /// # Errors
    /// When the text is no filter, or too long; the filter in force stays.
    pub fn set(&self, filter: &str) -> Result<(), Error> {
        self.0.reload(parse(filter)?).map_err(|_| Error::Gone)
    }

    /// The filter in force, as text that [`LogLevel::set`] accepts.
    pub fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_else(|_| "off".to_owned())
    }
}

/// Sets up logs for this process and returns what changes their filter, for instance `info` or `info,conduit_proxy=debug`.
///
/// # Errors
/// When the filter cannot be understood, or logs were set up before.
pub fn init(filter: &str, format: Format) -> Result<LogLevel, Error> {
    let colours = std::io::stderr().is_terminal();
    let (subscriber, level) = subscriber(filter, format, colours, std::io::stderr)?;
    subscriber.try_init().map_err(|_| Error::AlreadySetUp)?;
    Ok(level)
}

/// The subscriber that [`init`] makes global, with any writer.
pub(crate) fn subscriber<W>(
    filter: &str,
    format: Format,
    colours: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync, LogLevel), Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let mut lines = tracing_subscriber::fmt::layer().with_writer(writer);
    if !colours {
        lines = lines.with_ansi(false);
    }
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok((Registry::default().with(filter).with(lines), LogLevel(handle)))
}

fn parse(filter: &str) -> Result<Targets, Error> {
    if filter.len() > FILTER_BYTES_MAX {
        return Err(Error::TooLong(filter.len()));
    }
    Ok(Targets::from_str(filter)?)
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
