//! `conduit inject` and `uninject`: manifests in, manifests out, with a remark on stderr about each workload. `tree` reads YAML with
//! the places of its parts, `text` edits by inserting and by taking out exactly what was inserted, `insert` does so for whatever was added.
//! Deliberately absent: the
//! cluster. What is printed on an error is nothing, so that a pipe into kubectl applies all or nothing.

mod tree;
mod text;
mod insert;
mod manual;

use std::io::Read;
use std::path::Path;

use crate::args::{Inject, Uninject};
use crate::output::{self, Failure};

/// Bytes of a manifest: several times the largest that the API server takes, so that a wrong file is not read for ever.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Runs `inject`.
///
/// # Errors
/// When the file cannot be read, is no YAML, or cannot be edited safely.
pub(crate) fn inject(args: &Inject) -> Result<(), Failure> {
    let input = read(&args.file)?;
    let outcome = if args.manual { manual::inject(&input, args)? } else { told(text::inject(&input))? };
    finish(&outcome)
}

/// Runs `uninject`.
///
/// # Errors
/// As [`inject`].
pub(crate) fn uninject(args: &Uninject) -> Result<(), Failure> {
    let input = read(&args.file)?;
    finish(&told(text::uninject(&input))?)
}

/// A new text, and what is to be said about each object.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    text: String,
    remarks: Vec<String>,
}

fn finish(outcome: &Outcome) -> Result<(), Failure> {
    output::print(&outcome.text)?;
    outcome.remarks.iter().for_each(|remark| output::remark(remark));
    Ok(())
}

fn told<T>(result: Result<T, String>) -> Result<T, Failure> {
    result.map_err(|what| {
        Failure::problem(
            what,
            "nothing was printed; conduit.io/inject: enabled can also be put on the namespace",
        )
    })
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::problem(format!("cannot read {}: {error}", file.display()), "- reads from stdin")
    };
    let mut text = String::new();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    source.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::problem(
            format!("{} is larger than {INPUT_BYTES_MAX} bytes", file.display()),
            "split it",
        ));
    }
    Ok(text)
}
