use conduit_inject::settings::Settings;
use conduit_inject::{Annotations, Mesh, Outcome, Redirection, inject, names};
use serde_json::json;

use super::*;

#[test]
fn plugin_and_agent_read_the_settings_that_injection_writes_for_them() {
    let mesh = Mesh {
        controller_addr: "conduit-controller.conduit.svc:8086".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        trust_anchors: String::new(),
        cluster_networks: None,
        redirection: Redirection::Cni,
        settings: Settings::of_image("conduit-proxy:1"),
    };
    let asked =
        [(names::INJECT, "enabled"), (names::SKIP_INBOUND, "22, 30-40"), (names::SKIP_OUTBOUND, "3306")];
    let asked: Annotations = asked.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let pod = json!({"spec": {"containers": [{"name": "web"}]}});
    let Outcome::Injected(injected) = inject(&pod, "shop", &asked, &mesh) else { panic!("not injected") };
    let annotation = injected.pod["metadata"]["annotations"][names::REDIRECTION].as_str().unwrap();
    let told = rules(annotation.split_ascii_whitespace()).unwrap();
    assert_eq!((&*told.skip_inbound, &*told.skip_outbound), (&[22..=22, 30..=40][..], &[3306..=3306][..]));

    let step = &injected.pod["spec"]["initContainers"][0];
    assert_eq!(step["name"], names::VALIDATE_CONTAINER);
    let arguments = step["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let command_line: Vec<&str> = std::iter::once("/conduit-proxy").chain(arguments).collect();
    let command_line = format!("{}\0", command_line.join("\0"));
    let waiting = crate::pods::settings(command_line.as_bytes()).expect("the agent knows a waiting pod");
    assert_eq!(rules(waiting).unwrap(), told);
}

#[test]
fn nothing_but_the_settings_of_redirect_rules_is_read() {
    assert_eq!(rules([]).unwrap().skip_inbound, []);
    for wrong in [&["--remove", "1"][..], &["--skip-inbound-ports"], &["--skip-inbound-ports", "9-8"]] {
        assert!(rules(wrong.iter().copied()).is_err(), "{wrong:?}");
    }
}
