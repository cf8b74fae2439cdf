//! `conduit check`: a table of checks over facts that are gathered first. Each check is a pure function of the facts, with the
//! reason why it matters and what to do when it fails. Deliberately absent: changing anything.

mod facts;
mod list;

use serde::Serialize;

use crate::args::{Check as Args, Connection};
use crate::output::{self, Exit, Failure, Format, Paint, Tone};
use facts::Facts;
use list::CHECKS;

/// One thing to look at.
struct Check {
    /// A name for scripts.
    id: &'static str,
    /// What holds when it passes.
    title: &'static str,
    /// Why it matters.
    why: &'static str,
    /// What to do when it does not hold.
    hint: &'static str,
    /// Nothing after it can be looked at when it fails.
    fatal: bool,
    /// Looks.
    run: fn(&Facts) -> Verdict,
}

/// What a check found, with a few words about it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Ok(String),
    Warn(String),
    Fail(String),
    Skip(String),
}

impl Verdict {
    const fn word(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Warn(_) => "warn",
            Self::Fail(_) => "fail",
            Self::Skip(_) => "skip",
        }
    }

    const fn tone(&self) -> Tone {
        match self {
            Self::Ok(_) => Tone::Good,
            Self::Warn(_) => Tone::Warn,
            Self::Fail(_) => Tone::Bad,
            Self::Skip(_) => Tone::Faint,
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Ok(text) | Self::Warn(text) | Self::Fail(text) | Self::Skip(text) => text,
        }
    }

    const fn needs_attention(&self) -> bool {
        matches!(self, Self::Warn(_) | Self::Fail(_))
    }
}

/// Runs the verb.
///
/// # Errors
/// [`Failure::Silent`] when a check failed; what failed has been printed.
pub(crate) async fn run(args: Args, connection: &Connection) -> Result<(), Failure> {
    let facts = Facts::gather(&connection.target(), args.proxy).await;
    let verdicts = look(&CHECKS, &facts);
    match args.output.format {
        Format::Json => output::print(&output::json(&Document::new(&CHECKS, &verdicts))?)?,
        Format::Table | Format::Wide => {
            let wide = args.output.format == Format::Wide;
            output::print(&render(&CHECKS, &verdicts, wide, Paint::stdout(connection.color)))?;
        }
    }
    let failed = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Fail(_)));
    match (&facts.info, failed) {
        (Err(_), _) => Err(Failure::Silent(Exit::Unreachable)),
        (Ok(_), true) => Err(Failure::Silent(Exit::Problem)),
        (Ok(_), false) => Ok(()),
    }
}

/// Runs the checks in order; after a fatal one that failed the rest are skipped.
fn look(checks: &[Check], facts: &Facts) -> Vec<Verdict> {
    let mut stopped_by = None;
    let verdict = |check: &Check| match stopped_by {
        Some(id) => Verdict::Skip(format!("needs {id}")),
        None => {
            let verdict = (check.run)(facts);
            if check.fatal && matches!(verdict, Verdict::Fail(_)) {
                stopped_by = Some(check.id);
            }
            verdict
        }
    };
    checks.iter().map(verdict).collect()
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    checks: Vec<CheckJson<'a>>,
}

#[derive(Serialize)]
struct CheckJson<'a> {
    id: &'a str,
    title: &'a str,
    result: &'a str,
    detail: &'a str,
    why: &'a str,
    hint: &'a str,
}

impl<'a> Document<'a> {
    fn new(checks: &'a [Check], verdicts: &'a [Verdict]) -> Self {
        let check = |(check, verdict): (&'a Check, &'a Verdict)| CheckJson {
            id: check.id,
            title: check.title,
            result: verdict.word(),
            detail: verdict.detail(),
            why: check.why,
            hint: check.hint,
        };
        Self {
            ok: !verdicts.iter().any(|verdict| matches!(verdict, Verdict::Fail(_))),
            checks: checks.iter().zip(verdicts).map(check).collect(),
        }
    }
}

fn render(checks: &[Check], verdicts: &[Verdict], wide: bool, paint: Paint) -> String {
    let mut text = String::new();
    for (check, verdict) in checks.iter().zip(verdicts) {
        // The word is padded before it is painted: colour codes have no width.
        let word = paint.tone(verdict.tone(), &format!("{:<4}", verdict.word()));
        let mut details = verdict.detail().lines();
        let first = details.next().unwrap_or_default();
        let first = if first.is_empty() { String::new() } else { format!(" ({first})") };
        text.push_str(&format!("{word}  {}{}\n", check.title, paint.tone(Tone::Faint, &first)));
        for detail in details {
            text.push_str(&format!("        {detail}\n"));
        }
        if verdict.needs_attention() || wide {
            text.push_str(&format!("      {} {}\n", paint.tone(Tone::Strong, "why: "), check.why));
        }
        if verdict.needs_attention() {
            text.push_str(&format!("      {} {}\n", paint.tone(Tone::Strong, "hint:"), check.hint));
        }
    }
    let count = |word: &str| verdicts.iter().filter(|verdict| verdict.word() == word).count();
    text.push_str(&format!(
        "\n{} checks: {} ok, {} warn, {} fail, {} skip\n",
        verdicts.len(),
        count("ok"),
        count("warn"),
        count("fail"),
        count("skip")
    ));
    text
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
