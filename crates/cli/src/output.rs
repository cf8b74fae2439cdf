//! What every verb prints with: tables, JSON, colour, failures and exit codes. Main data goes to stdout, everything else to
//! stderr; a reader that goes away (`conduit stat | head -1`) is not a failure. Deliberately absent: any knowledge of a verb.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// How a verb ends, for scripts. The help text of `conduit` lists the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Ok,
    /// The check or the command found a problem.
    Problem,
    /// The command line could not be understood.
    Usage,
    /// The mesh cannot be reached.
    Unreachable,
    /// Whatever the program that was run in a pod ended with.
    Of(u8),
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Problem => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Of(code) => code,
        }
    }
}

/// Why a verb did not do what it was asked to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something to tell: what happened, and what to do next.
    Told {
        /// The exit code.
        exit: Exit,
        /// What happened, without a full stop.
        what: String,
        /// What to do next; empty where there is nothing to say.
        hint: String,
    },
    /// All has been said already; only the exit code remains.
    Silent(Exit),
    /// Whoever read stdout went away.
    ReaderLeft,
}

impl Failure {
    /// The command found a problem.
    pub(crate) fn problem(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Told { exit: Exit::Problem, what: what.into(), hint: hint.into() }
    }

    /// The command line means nothing.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Told { exit: Exit::Usage, what: what.into(), hint: hint.into() }
    }

    /// The mesh cannot be reached.
    pub(crate) fn unreachable(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Told { exit: Exit::Unreachable, what: what.into(), hint: hint.into() }
    }

    /// What happened, without the hint.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Told { what, .. } => what.clone(),
            Self::Silent(_) | Self::ReaderLeft => self.to_string(),
        }
    }

    /// The exit code.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Told { exit, .. } | Self::Silent(exit) => *exit,
            Self::ReaderLeft => Exit::Ok,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told { what, hint, .. } if hint.is_empty() => f.write_str(what),
            Self::Told { what, hint, .. } => write!(f, "{what} ({hint})"),
            Self::Silent(exit) => write!(f, "exit code {}", exit.code()),
            Self::ReaderLeft => f.write_str("the reader of stdout went away"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderLeft;
        }
        Self::problem(
            format!("cannot write the output: {error}"),
            "check the disk or terminal that stdout leads to",
        )
    }
}

/// The shape of the main data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// JSON for programs.
    Json,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a piece of text says by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    /// Nothing in particular.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// A heading.
    Strong,
    /// Less important.
    Faint,
}

/// Puts colour on text, or leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// No colour at all.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self(false);
    /// Colour whatever the place.
    #[cfg(test)]
    pub(crate) const ALWAYS: Self = Self(true);

    /// Whether there is colour.
    pub(crate) const fn is_on(self) -> bool {
        self.0
    }

    /// For text that goes to stdout.
    pub(crate) fn stdout(choice: Colour) -> Self {
        Self::decide(choice, io::stdout().is_terminal(), |name| std::env::var(name).ok())
    }

    /// For text that goes to stderr.
    pub(crate) fn stderr(choice: Colour) -> Self {
        Self::decide(choice, io::stderr().is_terminal(), |name| std::env::var(name).ok())
    }

    /// <https://no-color.org>: any value of NO_COLOR that is not empty turns colour off.
    fn decide(choice: Colour, terminal: bool, env: impl Fn(&str) -> Option<String>) -> Self {
        Self(match choice {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                terminal
                    && env("NO_COLOR").is_none_or(|value| value.is_empty())
                    && env("TERM").is_none_or(|term| term != "dumb")
            }
        })
    }

    /// `text` in the colour of `tone`.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.0 => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// One field of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    /// What is written.
    pub text: String,
    /// Its colour.
    pub tone: Tone,
}

impl Cell {
    /// Text in a colour.
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Columns with a heading; each as wide as its widest text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

/// Between two columns.
const GAP: &str = "   ";

impl Table {
    /// A table with these columns and no row yet.
    pub(crate) fn new(columns: Vec<(&'static str, Align)>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Rows, without the headings.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a row; it has as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The lines, headings first, each as its pieces of text in their colours; no spaces at the end of a line.
    pub(crate) fn lines(&self) -> Vec<Vec<Cell>> {
        let width = |index: usize, heading: &str| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            cells.map(|cell| cell.text.chars().count()).chain([heading.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(index, (heading, _))| width(index, heading)).collect();
        let headings: Vec<Cell> = self.columns.iter().map(|(h, _)| Cell::new(*h, Tone::Strong)).collect();
        std::iter::once(&headings).chain(&self.rows).map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize]) -> Vec<Cell> {
        let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
        let mut line: Vec<Cell> = Vec::with_capacity(2 * row.len());
        let mut space = String::new();
        for (index, cell) in row.iter().enumerate().take(last + 1) {
            let padding = " ".repeat(widths[index].saturating_sub(cell.text.chars().count()));
            let left = self.columns[index].1 == Align::Left;
            if !left {
                space.push_str(&padding);
            }
            line.push(std::mem::take(&mut space).into());
            line.push(cell.clone());
            if left {
                space.push_str(&padding);
            }
            space.push_str(GAP);
        }
        line
    }

    /// The table as text, each line ended.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let painted = |cell: &Cell| paint.tone(cell.tone, &cell.text);
        self.lines().iter().map(|line| line.iter().map(painted).collect::<String>() + "\n").collect()
    }
}

/// `value` as indented JSON with a line end.
///
/// # Errors
/// When it cannot be written as JSON, which is a mistake of ours.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Failure::problem(format!("cannot write JSON: {error}"), ""))
}

/// `value` as JSON on one line.
///
/// # Errors
/// As [`json`].
pub(crate) fn json_line<T: Serialize>(value: &T) -> Result<String, Failure> {
    let text = serde_json::to_string(value);
    text.map(|text| text + "\n").map_err(|error| Failure::problem(format!("cannot write JSON: {error}"), ""))
}

/// Writes main data.
///
/// # Errors
/// [`Failure::ReaderLeft`] when nobody reads any more.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes a remark for people. That it cannot be written changes nothing.
pub(crate) fn remark(text: &str) {
    let written = writeln!(io::stderr().lock(), "{text}");
    drop(written);
}

/// Tells why a verb failed, on stderr.
pub(crate) fn complain(failure: &Failure, colour: Colour) {
    let Failure::Told { what, hint, .. } = failure else { return };
    let paint = Paint::stderr(colour);
    remark(&format!("{} {what}", paint.tone(Tone::Bad, "error:")));
    if !hint.is_empty() {
        remark(&format!("{} {hint}", paint.tone(Tone::Good, "hint:")));
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
