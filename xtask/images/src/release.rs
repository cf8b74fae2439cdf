//! Conduit's own images: one static program or two, their licences and their bill of materials, and nothing else; no shell, no package, no root. Depends on
//! binaries that were built before. Deliberately absent: a base image, for a static program needs none.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use conduit_logic::ports::PROXY_UID;

use crate::files::Files;
use crate::image::Image;
use crate::{licences, linked, sbom};

/// Bytes that an image may have, unpacked: the proxy's is pulled by every node and the controller's by few.
const PROXY_BYTES_MAX: u64 = 12_000_000;
/// As above.
const CONTROLLER_BYTES_MAX: u64 = 30_000_000;
/// The demo's image has the whole command line in it; this only notices a mistake.
const DEMO_BYTES_MAX: u64 = 30_000_000;

/// An image to be made of a package's binary.
struct Recipe {
    /// The image's name.
    name: &'static str,
    /// The package and the binary.
    binary: &'static str,
    /// Another one, which is run by its path.
    beside: Option<&'static str>,
    arguments: &'static [&'static str],
    /// The user and group; not root, and in the proxy's case the one that the redirect rules exempt.
    user: u32,
    bytes_max: u64,
    description: &'static str,
}

impl Recipe {
    fn binaries(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.binary).chain(self.beside)
    }
}

/// The user of programs that need no number of their own.
const NOBODY: u32 = 65532;

const RECIPES: [Recipe; 3] = [
    Recipe {
        name: "conduit-proxy",
        binary: "conduit-proxy",
        beside: None,
        arguments: &[],
        user: PROXY_UID,
        bytes_max: PROXY_BYTES_MAX,
        description: "Conduit's data plane: the proxy beside every pod",
    },
    Recipe {
        name: "conduit-controller",
        binary: "conduit-controller",
        // The network plugin and its agent: one image less to bring to a cluster, and the proxy's stays small.
        beside: Some("conduit-cni"),
        arguments: &[],
        user: NOBODY,
        bytes_max: CONTROLLER_BYTES_MAX,
        description: "Conduit's control plane",
    },
    Recipe {
        name: "conduit-demo",
        binary: "conduit",
        beside: None,
        arguments: &["demo-app"],
        user: NOBODY,
        bytes_max: DEMO_BYTES_MAX,
        description: "The demo application, one role per pod",
    },
];

/// What to build, and from where.
pub(crate) struct Options {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The folder of the static binaries.
    pub(crate) bin: PathBuf,
    /// The target they were built for.
    pub(crate) target: String,
    /// Where the archives go.
    pub(crate) out: PathBuf,
    /// What comes before the images' names.
    pub(crate) registry: String,
    /// What comes after them.
    pub(crate) tag: String,
}

/// Writes every image with its bill of materials beside it, and says how large each is.
pub(crate) fn write_all(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.out).with_context(|| format!("cannot create {}", options.out.display()))?;
    for recipe in &RECIPES {
        let papers = Papers::of(recipe, options)?;
        let image = image(recipe, options, &papers)?;
        let written = image.write(&options.out.join(format!("{}.tar", recipe.name)))?;
        for (ending, text) in [("spdx.json", &papers.materials), ("licenses.txt", &papers.licences)] {
            let beside = options.out.join(format!("{}.{ending}", recipe.name));
            fs::write(&beside, text).with_context(|| format!("cannot write {}", beside.display()))?;
        }
        println!(
            "{}  {}  {:.1} MB, compressed {:.1} MB",
            image.reference,
            written.digest,
            written.unpacked_bytes as f64 / 1e6,
            written.compressed_bytes as f64 / 1e6
        );
        ensure!(
            written.unpacked_bytes < recipe.bytes_max,
            "{} has {} bytes, and may have {} at most",
            image.reference,
            written.unpacked_bytes,
            recipe.bytes_max
        );
    }
    Ok(())
}

/// What an image says of what is in it; written into it and beside it.
struct Papers {
    materials: String,
    licences: String,
}

impl Papers {
    fn of(recipe: &Recipe, options: &Options) -> Result<Self> {
        let mut components = Vec::new();
        let binaries: Vec<&str> = recipe.binaries().collect();
        for binary in &binaries {
            components.extend(linked::components(&options.root, binary, &options.target)?);
        }
        components.extend(linked::of_the_toolchain(&options.root)?);
        components.sort();
        components.dedup();
        let document = sbom::document(&binaries, env!("CARGO_PKG_VERSION"), &components);
        Ok(Self { materials: format!("{document:#}\n"), licences: licences::text(&components)? })
    }
}

fn image(recipe: &Recipe, options: &Options, papers: &Papers) -> Result<Image> {
    let mut files = Files::default();
    for name in recipe.binaries() {
        let binary = options.bin.join(name);
        let bytes = fs::read(&binary).with_context(|| format!("{} is not built", binary.display()))?;
        ensure!(
            is_static(&bytes)?,
            "{} needs a loader, and the image has none: build it with -C target-feature=+crt-static",
            binary.display()
        );
        files.add_file(&format!("/{name}"), &binary)?;
    }
    files.add_file("/licenses/LICENSE", &options.root.join("LICENSE"))?;
    files.add_text("/licenses/THIRD-PARTY", papers.licences.as_str());
    files.add_text("/sbom.spdx.json", papers.materials.as_str());
    let mut entrypoint = vec![format!("/{}", recipe.binary)];
    entrypoint.extend(recipe.arguments.iter().map(|argument| (*argument).to_owned()));
    let labels = [
        ("title", recipe.name),
        ("description", recipe.description),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", "Apache-2.0"),
    ];
    Ok(Image {
        reference: format!("{}/{}:{}", options.registry, recipe.name, options.tag),
        files,
        entrypoint,
        command: Vec::new(),
        user: format!("{0}:{0}", recipe.user),
        architecture: architecture(&options.target).to_owned(),
        compression: 9,
        labels: labels
            .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
            .into(),
    })
}

fn architecture(target: &str) -> &str {
    match target.split('-').next().unwrap_or_default() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Whether an executable asks for no loader: it has no program header PT_INTERP (ELF-64, little endian; elf(5)).
fn is_static(bytes: &[u8]) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, size: usize| -> Result<usize> {
        let field = bytes.get(at..at + size).context("the executable ends too early")?;
        Ok(field.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "it is not a 64-bit little-endian executable");
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        if number(table + index * size, 4)? == PT_INTERP as usize {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
