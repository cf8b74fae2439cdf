//! `cargo xtask tidy`: the style of CONTRIBUTING.md as a test. `text` judges one file at a time, `workspace` judges the crates
//! and what they depend on; this file walks the tree and prints. Deliberately absent: whatever rustfmt and clippy already check.
//!
//! A line may be excepted from one rule by a comment on it or above it that gives the reason: `// tidy: RULE: reason`.

mod text;
mod workspace;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::root;

/// One thing to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, from the repository's root.
    pub(crate) file: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The rule's name, as an exception would name it.
    pub(crate) rule: &'static str,
    /// What is wrong and what to do.
    pub(crate) advice: String,
}

impl Finding {
    fn new(file: &str, line: usize, rule: &'static str, advice: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, rule, advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}: {}", self.file, self.line, self.rule, self.advice)
    }
}

/// Prints every finding; returns whether there was none.
pub(crate) fn run() -> Result<bool> {
    let findings = findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: nothing to put right"),
        count => println!("tidy: {count} to put right"),
    }
    Ok(findings.is_empty())
}

/// Every finding in the repository, by file and line.
pub(crate) fn findings() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut paths = Vec::new();
    for folder in ["crates", "xtask", "fuzz"] {
        let folder = root().join(folder);
        if folder.exists() {
            walk(&folder, &mut paths)?;
        }
    }
    for path in &paths {
        let name = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned();
        if name.ends_with(".rs") {
            findings.extend(text::check(&name, &read(path)?));
            findings.extend(text::check_name(&name));
        }
    }
    findings.extend(workspace::check()?);
    findings.extend(check_stages()?);
    findings.extend(check_decisions()?);
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(findings)
}

/// The stage tables of ARCHITECTURE.md against the `mod` lines of the two ways through the proxy.
fn check_stages() -> Result<Vec<Finding>> {
    let architecture = root().join("ARCHITECTURE.md");
    if !architecture.exists() {
        return Ok(Vec::new());
    }
    let table = read(&architecture)?;
    let mut findings = Vec::new();
    for way in ["outbound", "inbound"] {
        let file = format!("crates/proxy/src/{way}/mod.rs");
        findings.extend(text::check_stages(&table, way, &file, &read(&root().join(&file))?));
    }
    Ok(findings)
}

/// Decisions are numbered: four digits, and no number twice.
fn check_decisions() -> Result<Vec<Finding>> {
    let folder = root().join("docs/decisions");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).context("cannot list docs/decisions")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(text::check_decisions(&names))
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        if name == "target" || name == "corpus" || name == "artifacts" || name == "seeds" {
            continue;
        }
        if entry.file_type()?.is_dir() { walk(&path, paths)? } else { paths.push(path) }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
