//! `conduit completion`: a shell's completion script, made from the definition of the command line.

use clap::CommandFactory;
use clap_complete::{Shell as Target, generate};

use crate::args::{Completion, Conduit, Shell};
use crate::output::{self, Failure};

/// Runs the verb.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn run(args: &Completion) -> Result<(), Failure> {
    let shell = match args.shell {
        Shell::Bash => Target::Bash,
        Shell::Zsh => Target::Zsh,
        Shell::Fish => Target::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Conduit::command(), "conduit", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
