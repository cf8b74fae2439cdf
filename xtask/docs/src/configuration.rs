//! docs/configuration.md, from the command lines of the long-running binaries.

use clap::{Arg, Command};

use crate::{cell, heading};

/// The page.
pub(crate) fn page() -> String {
    let mut page = heading("Configuration", "the `config.rs` of each binary");
    page.push_str("\nAn argument wins over its environment variable. Durations are written `500ms`, `10s`, `5m`, `24h`.\n");
    binary(&mut page, conduit_proxy::config::command());
    binary(&mut page, conduit_controller::config::command());
    page
}

/// A section for each sub-command.
fn binary(page: &mut String, mut command: Command) {
    command.build();
    for run in command.get_subcommands().filter(|run| run.get_name() != "help") {
        page.push_str(&format!("\n## `{} {}`\n", command.get_name(), run.get_name()));
        if let Some(about) = run.get_about() {
            page.push_str(&format!("\n{about}.\n"));
        }
        page.push_str("\n| argument | environment | default | what it is |\n| --- | --- | --- | --- |\n");
        let shown = |argument: &&Arg| !argument.is_hide_set() && argument.get_id() != "help";
        for argument in run.get_arguments().filter(shown) {
            page.push_str(&row(argument));
        }
    }
}

fn row(argument: &Arg) -> String {
    let long = argument.get_long().map_or_else(|| argument.get_id().to_string(), |long| format!("--{long}"));
    let environment =
        argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let defaults = argument.get_default_values().iter().map(|value| value.to_string_lossy());
    let default = match defaults.collect::<Vec<_>>().join(",") {
        _ if argument.is_required_set() => "required".to_owned(),
        _ if !argument.get_action().takes_values() => String::new(),
        none if none.is_empty() => String::new(),
        value => format!("`{value}`"),
    };
    let mut help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> =
        argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if !values.is_empty() && argument.get_action().takes_values() {
        help.push_str(&format!(" ({})", values.join(", ")));
    }
    format!("| `{long}` | {environment} | {default} | {} |\n", cell(&help))
}
