//! `cargo xtask images` and the images of test clusters: what packs files into an image, without an engine or a registry. Depends on no crate of
//! Conduit's but its words. Deliberately absent: building the programs in them (`xtask`).

mod files;
mod image;
mod licences;
mod linked;
mod release;
mod sbom;
mod servers;
mod testing;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Writes container images, without an engine.
#[derive(Parser)]
#[command(name = "xtask-images", disable_help_subcommand = true)]
enum Verb {
    /// Conduit's own images, from static binaries
    Conduit {
        /// The repository
        #[arg(long)]
        root: PathBuf,
        /// The folder of the binaries
        #[arg(long)]
        bin: PathBuf,
        /// The target they were built for
        #[arg(long)]
        target: String,
        /// Where the archives go
        #[arg(long)]
        out: PathBuf,
        /// What comes before the images' names
        #[arg(long)]
        registry: String,
        /// What comes after them
        #[arg(long)]
        tag: String,
    },
    /// The images that a test cluster runs
    Testing {
        /// The folder of the cluster's programs
        #[arg(long)]
        bin: PathBuf,
        /// The folder of the load generators
        #[arg(long)]
        load: PathBuf,
        /// Where the archives go
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Verb::parse() {
        Verb::Conduit { root, bin, target, out, registry, tag } => {
            release::write_all(&release::Options { root, bin, target, out, registry, tag })
        }
        Verb::Testing { bin, load, out } => testing::write_all(&bin, &load, &out),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("images: {error:#}");
            ExitCode::FAILURE
        }
    }
}
