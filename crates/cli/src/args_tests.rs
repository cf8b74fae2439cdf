use clap::{CommandFactory, error::ErrorKind};

use super::*;

fn parse(line: &str) -> Result<Conduit, clap::Error> {
    Conduit::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_of_the_command_line_is_consistent() {
    Conduit::command().debug_assert();
}

#[test]
fn the_window_and_the_format_have_defaults() {
    let Verb::Stat(stat) = parse("conduit stat deploy/web").unwrap().verb else { panic!("not stat") };
    assert_eq!(stat.window.window.seconds(), 60);
    assert_eq!(stat.output.format, Format::Table);
    assert_eq!(stat.watch, None);
    let Verb::Stat(stat) = parse("conduit stat --watch web -o wide --window 10s").unwrap().verb else {
        panic!("not stat")
    };
    assert_eq!(stat.watch, Some(Duration::from_secs(2)));
    assert_eq!(stat.resource, ["web"]);
    assert_eq!(stat.output.format, Format::Wide);
}

#[test]
fn wrong_values_are_usage_errors() {
    for line in [
        "conduit stat --window 5s",
        "conduit tap",
        "conduit tap web --port 0",
        "conduit tap web --response-class 6xx",
        "conduit tap web --min-latency 10",
        "conduit stat -o yaml",
        "conduit --controller ftp://x stat",
        "conduit top --to web",
        "conduit",
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    assert_eq!(parse("conduit stat --help").unwrap_err().kind(), ErrorKind::DisplayHelp);
}

#[test]
fn every_verb_that_prints_teaches_with_examples() {
    for verb in Conduit::command().get_subcommands() {
        let name = verb.get_name().to_owned();
        if name == "version" || verb.is_hide_set() {
            continue;
        }
        let help = verb.clone().render_long_help().to_string();
        assert!(help.contains("Examples:"), "{name}");
    }
}
