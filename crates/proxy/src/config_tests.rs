use super::*;

fn parse(extra: &[&str]) -> RunArguments {
    let base = [
        "conduit-proxy",
        "run",
        "--pod-namespace=shop",
        "--pod-name=web-1",
        "--service-account=web",
        "--pod-ips=10.1.0.2,fd00::2",
        "--trust-anchors=/a",
        "--token=/t",
        "--controller-addr=10.1.0.1:8086",
    ];
    match Arguments::try_parse_from(base.iter().chain(extra)).unwrap().command {
        Command::Run(run) => *run,
        Command::Init(_) | Command::Validate(_) => panic!("not run"),
    }
}

#[test]
fn all_errors_are_told_at_once() {
    let error = parse(&["--trust-domain=A", "--workers=0", "--header-bytes-max=1"])
        .into_config()
        .unwrap_err()
        .to_string();
    for part in ["trust domain", "header-bytes-max must", "workers must be"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_configuration_with_defaults_is_complete() {
    let config = parse(&[]).into_config().unwrap();
    assert_eq!(config.identity.as_str(), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(
        config.controller_identity.as_str(),
        "spiffe://cluster.local/ns/conduit/sa/conduit-controller"
    );
    assert_eq!(config.when_unknown, WhenUnknown::Refuse);
    assert_eq!(config.pod_ips.len(), 2);
}

#[test]
fn durations_and_port_ranges_are_read() {
    assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
    assert!(duration("5").is_err() && duration("s").is_err() && duration("-1s").is_err());
    assert_eq!(port_range("25-30"), Ok(25..=30));
    assert!(port_range("30-25").is_err() && port_range("70000").is_err());
}

#[test]
fn the_configuration_in_force_is_shown_with_the_names_and_in_the_form_in_which_it_is_given() {
    let shown = parse(&["--idle-timeout=1500ms"]).into_config().unwrap().describe();
    assert_eq!(shown["idle-timeout"], "1500ms");
    assert_eq!(shown["connect-timeout"], "1s");
    assert_eq!(shown["when-unknown"], "refuse");
    assert_eq!(shown["cluster-networks"][0], "10.0.0.0/8");
    // Every argument that configures is there.
    let command = command();
    let run = command.find_subcommand("run").unwrap();
    for argument in run.get_arguments().filter_map(|argument| argument.get_long()) {
        assert!(argument == "print-config" || shown.get(argument).is_some(), "{argument} is not shown");
    }
}
