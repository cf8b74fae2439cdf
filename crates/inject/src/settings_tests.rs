use super::*;

fn of(pairs: &[(&str, &str)]) -> Annotations {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn check(pod: &[(&str, &str)], namespace: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let mut problems = Vec::new();
    let settings = read(&of(pod), &of(namespace), &Settings::of_image("conduit-proxy:1"), &mut problems);
    (settings, problems.iter().map(Problem::to_string).collect())
}

#[test]
fn the_pod_is_before_the_namespace_and_the_namespace_before_the_mesh() {
    let (settings, problems) = check(
        &[(names::LOG_LEVEL, "debug")],
        &[(names::LOG_LEVEL, "warn"), (names::SKIP_OUTBOUND, "25, 3306-3310")],
    );
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(settings.log, "debug");
    assert_eq!(settings.skip_outbound.as_deref(), Some("25,3306-3310"));
    assert_eq!(settings.image, "conduit-proxy:1");
}

#[test]
fn a_wrong_value_of_the_pod_falls_back_to_the_namespace() {
    let (settings, problems) = check(&[(names::SKIP_INBOUND, "22,99999")], &[(names::SKIP_INBOUND, "22")]);
    assert_eq!(settings.skip_inbound.as_deref(), Some("22"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("`99999` is not a port"), "{problems:?}");
}

#[test]
fn each_setting_refuses_what_it_cannot_mean() {
    let too_many = (1..=65).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    for (setting, value) in [
        (names::SIDECAR, "none"),
        (names::SKIP_INBOUND, "0"),
        (names::SKIP_INBOUND, "30-20"),
        (names::SKIP_OUTBOUND, too_many.as_str()),
        (names::LOG_LEVEL, "loud"),
        (names::LOG_LEVEL, "a b=info"),
        (names::IMAGE, "two words"),
        (names::IMAGE, ""),
        (names::MEMORY_LIMIT, "64MB"),
        (names::CPU_REQUEST, "-1"),
        (ports::ANNOTATION_OPAQUE_PORTS, "mysql"),
    ] {
        let (settings, problems) = check(&[(setting, value)], &[]);
        assert_eq!(settings, Settings::of_image("conduit-proxy:1"), "{setting}: {value}");
        assert_eq!(problems.len(), 1, "{setting}: {value}");
    }
}

#[test]
fn a_setting_that_does_not_exist_is_reported() {
    let (_, problems) = check(&[("conduit.io/proxy-cpu-limits", "1"), ("conduit.io/other", "1")], &[]);
    assert_eq!(
        problems,
        ["conduit.io/proxy-cpu-limits of the pod: there is no such setting; it is not used"]
    );
}

#[test]
fn a_request_never_leaves_above_its_limit() {
    let (settings, problems) = check(&[(names::MEMORY_LIMIT, "8Mi")], &[]);
    assert_eq!((settings.memory.request.as_str(), problems.len()), ("8Mi", 0), "a default gives way");
    let (settings, problems) = check(&[(names::CPU_REQUEST, "2"), (names::CPU_LIMIT, "500m")], &[]);
    assert_eq!((settings.cpu.request.as_str(), settings.cpu.limit.as_deref()), ("500m", Some("500m")));
    assert!(problems[0].contains("more than the limit"), "{problems:?}");
}

#[test]
fn image_references_are_told_from_other_text() {
    let digest = format!("conduit-proxy@sha256:{}", "a".repeat(64));
    for right in
        ["conduit-proxy", "conduit-proxy:0.1.0", "localhost:5000/a/b:x", "Registry.example/a__b/c", &digest]
    {
        assert!(image(right).is_ok(), "{right}");
    }
    for wrong in
        ["Conduit", "a:", "a//b", "/a", "a b", "a:b:c", "a@sha256:12", "a@md5:1", "-a", "a:.x", "a/b/"]
    {
        assert!(image(wrong).is_err(), "{wrong}");
    }
}
