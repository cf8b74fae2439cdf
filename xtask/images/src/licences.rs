//! The licence texts of everything that is linked into a binary, as one file: each text once, below the names of those that are under it. The
//! texts are the crates' own files. Deliberately absent: judging them, which `cargo deny` does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::linked::Component;

/// How a file with a licence begins, in capital letters.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// Sources and pictures that only happen to be called so.
const NO_TEXTS: [&str; 6] = ["rs", "py", "html", "svg", "png", "gz"];

/// The C library's copyright file names this licence without its text, which Debian has in one place.
const LGPL: (&str, &str) = ("LGPL-2.1", "/usr/share/common-licenses/LGPL-2.1");

/// The file for these components.
pub(crate) fn text(components: &[Component]) -> Result<String> {
    let mut bodies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for component in components {
        let mut texts = texts_in(component)?;
        if component.licence.starts_with(LGPL.0) && Path::new(LGPL.1).exists() {
            texts.insert("LGPL-2.1".to_owned(), fs::read_to_string(LGPL.1)?);
        }
        if texts.is_empty() && !is_own(component) {
            without.push(format!("{}: {}", component.id(), component.licence));
        }
        for (name, body) in texts {
            bodies.entry(body).or_default().push(format!("{} ({name})", component.id()));
        }
    }
    let mut text = String::from(
        "This program is made of the components below, each under the licence that is named by its SPDX expression.\n\
         Conduit's own are under the licence beside this file. The texts that the others come with follow.\n\n",
    );
    for component in components {
        text.push_str(&format!("{}: {}\n", component.id(), component.licence));
    }
    if !without.is_empty() {
        text.push_str("\nThese come without a text of their own; their SPDX expression stands for it:\n\n");
        text.push_str(&without.join("\n"));
        text.push('\n');
    }
    let mut bodies: Vec<(String, Vec<String>)> = bodies.into_iter().collect();
    bodies.sort_by(|a, b| a.1.cmp(&b.1));
    for (body, owners) in bodies {
        text.push_str(&format!(
            "\n{}\n{}\n{}\n\n{body}\n",
            "=".repeat(80),
            owners.join("\n"),
            "-".repeat(80)
        ));
    }
    Ok(text)
}

/// Whether it is a crate of this repository: only those come from no registry.
fn is_own(component: &Component) -> bool {
    component.checksum.is_empty() && component.purl.starts_with("pkg:cargo/")
}

/// Licence files in a component's folder and in the folders right below it, where bundled C sources have theirs.
fn texts_in(component: &Component) -> Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    if component.folder.exists() {
        collect(component, &component.folder, "", &mut texts)?;
    }
    Ok(texts)
}

fn collect(
    component: &Component,
    folder: &Path,
    prefix: &str,
    texts: &mut BTreeMap<String, String>,
) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if path.is_dir() {
            if prefix.is_empty() && !path.join("Cargo.toml").exists() {
                collect(component, &path, &format!("{name}/"), texts)?;
            }
        } else if is_licence(&name, folder, &component.licence) {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim_end().to_owned();
            texts.insert(format!("{prefix}{name}"), text);
        }
    }
    Ok(())
}

fn is_licence(name: &str, folder: &Path, expression: &str) -> bool {
    let upper = name.to_uppercase();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    // In a folder of licences each file is one, under the name that the expression has; there may be others' too.
    let folder = folder.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    let collected = ["LICENSES", "LICENCES"].contains(&folder.as_str()) && expression.contains(stem);
    let named = NAMES.iter().any(|begin| upper.starts_with(begin));
    (named || collected) && !NO_TEXTS.contains(&extension)
}

#[cfg(test)]
#[path = "licences_tests.rs"]
mod tests;
