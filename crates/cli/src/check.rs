//! `conduit check`: tables of checks over facts that are gathered first. Each check is a pure function of the facts, with the
//! reason why it matters and what to do when it fails. `before` is for a cluster without Conduit, `installed` asks the API server of one
//! that has it, `list` asks the controller, of a cluster or not. Deliberately absent: changing anything.

mod api;
mod before;
mod installed;
mod facts;
mod list;

use serde::Serialize;

use crate::args::{Check as Args, Connection};
use crate::connect::Mesh;
use crate::output::{self, Exit, Failure, Format, Paint, Tone};
use facts::Facts;
use list::CHECKS;

/// Most names in one verdict: a list of every pod of a large mesh helps nobody.
const NAMES_MAX: usize = 10;

/// One thing to look at.
struct Check<F: 'static> {
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
    run: fn(&F) -> Verdict,
}

/// What one check found.
struct Line {
    id: &'static str,
    title: &'static str,
    why: &'static str,
    hint: &'static str,
    verdict: Verdict,
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

    const fn mark(&self) -> &'static str {
        match self {
            Self::Ok(_) => "✓",
            Self::Warn(_) => "‼",
            Self::Fail(_) => "×",
            Self::Skip(_) => "-",
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
    let mesh = connection.mesh().await?;
    let (lines, reachable) = match (&mesh, args.pre) {
        (Mesh::At(_), true) => {
            return Err(Failure::usage(
                "--pre looks at a cluster, and none is named",
                "name one with --kubeconfig or --context, or stop the local world",
            ));
        }
        (Mesh::Cluster(cluster), true) => {
            let facts = Box::pin(before::Facts::gather(cluster)).await;
            (look(&before::CHECKS, &facts), facts.server.is_ok())
        }
        (Mesh::Cluster(cluster), false) => {
            let facts = Box::pin(installed::Facts::gather(cluster)).await;
            let mut lines = look(&installed::CHECKS, &facts);
            let mut reachable = facts.server.is_ok();
            if reachable {
                let (more, reached) = ask_controller(&mesh, args.proxy).await;
                lines.extend(more);
                reachable = reached;
            }
            (lines, reachable)
        }
        (Mesh::At(_), false) => ask_controller(&mesh, args.proxy).await,
    };
    match args.output.format {
        Format::Json => output::print(&output::json(&Document::new(&lines))?)?,
        Format::Table | Format::Wide => {
            let wide = args.output.format == Format::Wide;
            output::print(&render(&lines, wide, Paint::stdout(connection.color)))?;
        }
    }
    let failed = lines.iter().any(|line| matches!(line.verdict, Verdict::Fail(_)));
    match (reachable, failed) {
        (false, _) => Err(Failure::Silent(Exit::Unreachable)),
        (true, true) => Err(Failure::Silent(Exit::Problem)),
        (true, false) => Ok(()),
    }
}

/// The checks of what the controller knows, and whether it could be reached: one that refuses was.
async fn ask_controller(mesh: &Mesh, ask_proxies: bool) -> (Vec<Line>, bool) {
    let facts = Box::pin(Facts::gather(mesh, ask_proxies)).await;
    (look(&CHECKS, &facts), facts.reached)
}

/// Runs the checks in order; after a fatal one that failed the rest are skipped.
fn look<F>(checks: &[Check<F>], facts: &F) -> Vec<Line> {
    let mut stopped_by = None;
    let line = |check: &Check<F>| {
        let verdict = match stopped_by {
            Some(id) => Verdict::Skip(format!("needs {id}")),
            None => (check.run)(facts),
        };
        if check.fatal && matches!(verdict, Verdict::Fail(_)) {
            stopped_by = Some(check.id);
        }
        Line { id: check.id, title: check.title, why: check.why, hint: check.hint, verdict }
    };
    checks.iter().map(line).collect()
}

/// A heading, then one line for each of the first [`NAMES_MAX`].
fn listed(heading: &str, names: &[String]) -> String {
    let mut text = heading.to_owned();
    for name in names.iter().take(NAMES_MAX) {
        text.push('\n');
        text.push_str(name);
    }
    if names.len() > NAMES_MAX {
        text.push_str(&format!("\nand {} more", names.len() - NAMES_MAX));
    }
    text
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
    fn new(lines: &'a [Line]) -> Self {
        let check = |line: &'a Line| CheckJson {
            id: line.id,
            title: line.title,
            result: line.verdict.word(),
            detail: line.verdict.detail(),
            why: line.why,
            hint: line.hint,
        };
        Self {
            ok: !lines.iter().any(|line| matches!(line.verdict, Verdict::Fail(_))),
            checks: lines.iter().map(check).collect(),
        }
    }
}

fn render(lines: &[Line], wide: bool, paint: Paint) -> String {
    let mut text = String::new();
    for line in lines {
        let verdict = &line.verdict;
        let mark = paint.tone(verdict.tone(), verdict.mark());
        let mut details = verdict.detail().lines();
        let first = details.next().unwrap_or_default();
        let first = if first.is_empty() { String::new() } else { format!(" ({first})") };
        text.push_str(&format!("{mark} {}{}\n", line.title, paint.tone(Tone::Faint, &first)));
        for detail in details {
            text.push_str(&format!("    {detail}\n"));
        }
        if verdict.needs_attention() || wide {
            text.push_str(&format!("  {} {}\n", paint.tone(Tone::Strong, "why: "), line.why));
        }
        if verdict.needs_attention() {
            text.push_str(&format!("  {} {}\n", paint.tone(Tone::Strong, "hint:"), line.hint));
        }
    }
    let count = |word: &str| lines.iter().filter(|line| line.verdict.word() == word).count();
    text.push_str(&format!(
        "\n{} checks: {} ok, {} warn, {} fail, {} skip\n",
        lines.len(),
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
