//! Writes docs/ports.md, docs/configuration.md, docs/metrics.md, docs/annotations.md and the Helm chart from the tables in the code, or compares them
//! (`--check`).
//! Started by `cargo xtask docs`; it is a crate of its own because it links Conduit's libraries, which xtask must not.
//! Deliberately absent: pages that people write.

mod annotations;
mod configuration;
mod metrics;
mod ports;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// Writes the generated pages of docs/.
#[derive(Parser)]
struct Arguments {
    /// Write nothing; fail when a page is not what would be written
    #[arg(long)]
    check: bool,
}

fn main() -> Result<ExitCode> {
    let check = Arguments::parse().check;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut stale = 0;
    let mut pages = vec![
        ("docs/ports.md".to_owned(), ports::page()),
        ("docs/configuration.md".to_owned(), configuration::page()),
        ("docs/metrics.md".to_owned(), metrics::page()),
        ("docs/annotations.md".to_owned(), annotations::page()),
    ];
    let chart = conduit_install::chart::files().into_iter();
    pages.extend(chart.map(|(name, file)| (format!("charts/conduit/{name}"), file)));
    for (name, page) in pages {
        let path = root.join(&name);
        let current = fs::read_to_string(&path).unwrap_or_default();
        if current == page {
            continue;
        }
        stale += 1;
        if check {
            println!("{name} is not what the code says: run `cargo xtask docs` and commit it");
        } else {
            let folder = path.parent().unwrap_or(&root);
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
            println!("{name} written");
        }
    }
    if stale == 0 {
        println!("docs: the generated pages and the chart are as the code says");
    }
    Ok(if check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The first lines of a generated page.
fn heading(title: &str, source: &str) -> String {
    format!("# {title}\n\n<!-- Written by `cargo xtask docs` from {source}. Do not edit. -->\n")
}

/// Text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
