use super::*;
use crate::tests::mesh;

#[test]
fn the_proxy_accepts_every_variable_that_it_is_given_and_needs_no_other() {
    let mesh = Mesh { cluster_networks: Some("10.0.0.0/8".to_owned()), ..mesh() };
    let given = environment(&mesh.settings, &mesh);
    let given: Vec<&str> =
        given.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    let command = conduit_proxy::config::command();
    let run = command.find_subcommand("run").unwrap();
    let known = |variable: &str| {
        run.get_arguments().any(|argument| argument.get_env().is_some_and(|env| env == variable))
    };
    for variable in &given {
        assert!(known(variable), "the proxy does not know {variable}");
    }
    for argument in run.get_arguments().filter(|argument| argument.is_required_set()) {
        let variable = argument.get_env().unwrap().to_str().unwrap();
        assert!(given.contains(&variable), "the proxy needs {variable}");
    }
}

#[test]
fn the_init_step_is_one_that_the_proxy_understands() {
    use clap::Parser;
    let settings = Settings {
        skip_inbound: Some("22,30-40".to_owned()),
        skip_outbound: Some(String::new()),
        ..mesh().settings
    };
    let init = init(&settings);
    let args = init["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    let parsed =
        conduit_proxy::config::Arguments::try_parse_from(std::iter::once("conduit-proxy").chain(args));
    let conduit_proxy::config::Command::Init(init) = parsed.unwrap().command else { panic!("not init") };
    assert_eq!(init.skip_inbound_ports, [22..=22, 30..=40]);
    assert_eq!(init.skip_outbound_ports, []);
    assert_eq!(init.proxy_uid, ports::PROXY_UID);
}

#[test]
fn the_step_that_waits_is_one_that_the_proxy_understands_and_keeps_the_restricted_profile() {
    use clap::Parser;
    let settings = Settings { skip_outbound: Some("1-79,3306".to_owned()), ..mesh().settings };
    let mesh = Mesh { redirection: Redirection::Cni, ..mesh() };
    let step = build(&json!({"spec": {}}), &settings, &mesh, &mut Vec::new()).init;
    let args = step["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    // In the pod it comes from the environment.
    let args = args.chain(["--pod-ips", "10.0.0.1"]);
    let parsed =
        conduit_proxy::config::Arguments::try_parse_from(std::iter::once("conduit-proxy").chain(args));
    let conduit_proxy::config::Command::Validate(validate) = parsed.unwrap().command else {
        panic!("not validate")
    };
    assert_eq!(validate.skip_outbound_ports, [1..=79, 3306..=3306]);
    assert_eq!(step["env"][0]["name"], "CONDUIT_PROXY_POD_IPS");
    let context = &step["securityContext"];
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(context["runAsNonRoot"], true);
    assert_ne!(context["runAsUser"], ports::PROXY_UID, "whose connections are not redirected");
}

#[test]
fn the_proxy_keeps_the_restricted_profile_and_the_init_step_asks_for_one_right() {
    let mut problems = Vec::new();
    let added = build(&json!({"spec": {}}), &mesh().settings, &mesh(), &mut problems);
    let context = &added.proxy["securityContext"];
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(context["runAsNonRoot"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(added.init["securityContext"]["capabilities"], json!({"add": ["NET_ADMIN"], "drop": ["ALL"]}));
    assert_eq!(problems, []);
}

#[test]
fn an_application_with_the_proxys_user_is_reported() {
    for spec in [
        json!({"securityContext": {"runAsUser": 2102}, "containers": [{"name": "a"}]}),
        json!({"containers": [{"name": "a"}, {"name": "b", "securityContext": {"runAsUser": 2102}}]}),
    ] {
        let mut problems = Vec::new();
        build(&json!({"spec": spec}), &mesh().settings, &mesh(), &mut problems);
        assert_eq!(problems.len(), 1);
    }
}
