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

#[test]
fn a_command_stands_after_two_dashes_as_it_is() {
    let Verb::Local(local) =
        parse("conduit local run web -p 8080:http -p 9000 --replicas 2 --env A=b=c -- sh -c x --port 1")
            .unwrap()
            .verb
    else {
        panic!("not local")
    };
    let LocalVerb::Run(run) = local.verb else { panic!("not run") };
    assert_eq!(run.command, ["sh", "-c", "x", "--port", "1"]);
    assert_eq!(
        run.ports.iter().map(|port| (port.port, port.protocol.as_str())).collect::<Vec<_>>(),
        [(8080, "http"), (9000, "")]
    );
    assert_eq!(run.env, [("A".to_owned(), "b=c".to_owned())]);
    for line in
        ["conduit local run web", "conduit local run web -p x -- a", "conduit local run web --env A -- a"]
    {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn the_supervisor_understands_what_the_library_starts_it_with() {
    let line = "conduit local supervise --dir /d --certificate-lifetime 5s --log debug --detach --until-stdin-closes";
    let parsed = parse(line).unwrap();
    assert_eq!(parsed.connection.local_dir, Some("/d".into()));
    let Verb::Local(Local { verb: LocalVerb::Supervise(supervise) }) = parsed.verb else {
        panic!("not supervise")
    };
    assert_eq!((supervise.certificate_lifetime.as_str(), supervise.log.as_str()), ("5s", "debug"));
    assert!(supervise.detach && supervise.until_stdin_closes);
}

#[test]
fn signals_have_names_and_numbers() {
    for (text, number) in [("TERM", 15), ("sigkill", 9), ("Hup", 1), ("34", 34)] {
        assert_eq!(local::signal_number(text), Ok(number));
    }
    for text in ["", "0", "65", "NOPE"] {
        assert!(local::signal_number(text).is_err(), "{text}");
    }
}

#[test]
fn a_role_of_the_demo_gets_its_flags_untouched() {
    let Verb::DemoApp(app) = parse("conduit demo-app web --listen 127.0.0.1:1").unwrap().verb else {
        panic!("not it")
    };
    assert_eq!((app.role.as_str(), app.arguments.len()), ("web", 2));
}
