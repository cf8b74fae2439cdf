use conduit_inject::settings::Settings;
use conduit_inject::{Mesh, Redirection};
use proptest::prelude::*;

use super::super::{manual, text};
use super::*;

fn mesh(redirection: Redirection) -> Mesh {
    Mesh {
        controller_addr: "conduit-controller.conduit.svc:8086".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        trust_anchors: "-----BEGIN CERTIFICATE-----\nMII: \"{[# é\n-----END CERTIFICATE-----\n".to_owned(),
        cluster_networks: None,
        redirection,
        settings: Settings::of_image("localhost/conduit-proxy:1"),
    }
}

/// Writes the containers in, and takes them out; gives the text in between.
#[track_caller]
fn check(text: &str, redirection: Redirection) -> String {
    let injected =
        manual::written(text, &mesh(redirection)).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let back = text::uninject(&injected.text).unwrap_or_else(|error| panic!("{error}:\n{}", injected.text));
    assert_eq!(back.text, text, "injected was:\n{}", injected.text);
    injected.text
}

#[test]
fn what_was_there_stays_and_each_thing_that_is_added_has_a_line_with_a_mark() {
    let text = "\
# the web
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata:
      labels: {app: web} # keep
    spec:
      # first of all
      initContainers:
        - name: first
          command: [sh, -c, 'true']
      volumes:
      - name: data   # here
      containers: [{name: app}]
";
    let injected = check(text, Redirection::Init);
    let marked = injected.lines().filter(|line| line.ends_with(MARK)).count();
    assert_eq!(marked, 4, "annotations, two init containers, a volume: {injected}");
    let without: String =
        injected.lines().filter(|line| !line.ends_with(MARK)).map(|line| format!("{line}\n")).collect();
    assert_eq!(without.replace("{\"conduit.io/meshed\": \"true\", app", "{app"), text);
}

#[test]
fn every_layout_comes_back_byte_for_byte() {
    for text in [
        // No metadata at all, and lists that are empty; JSON; no line end at the end; a list of objects.
        "kind: Pod\nspec: {containers: [{name: a}], volumes: [], initContainers: [ ]}",
        r#"{"kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v"}]}}"#,
        r#"{"kind":"Pod","spec":{"containers":[{"name":"a"}]}}"#,
        "kind: List\nitems:\n- kind: Pod\n  metadata:\n    annotations: {}\n  spec:\n    containers:\n    - name: a\n      args: [\n        x ]\n- kind: Service\n",
        // Text in lines at the very end of a list to which something is added.
        "kind: Pod\nmetadata:\n  annotations:\n    conduit.io/sidecar: classic\nspec:\n  containers:\n  - name: a\n    command:\n    - sh\n    - -c\n    - |\n      echo a\n      echo b\n  volumes:\n  - {name: v}\n  # the end\n",
        "kind: Pod\nmetadata: {annotations: {conduit.io/sidecar: classic}}\nspec:\n  volumes:\n  - name: v\n    emptyDir:\n  initContainers:\n    -   name: i\n  containers:\n  - name: a",
        // An anchor that is nobody's business.
        "a: &a {x: y}\nkind: Pod\nmetadata:\n  labels: {app: b}\nb: *a\nspec:\n  nodeSelector: *a\n  containers:\n  - &c\n    name: a\n",
    ] {
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            for redirection in [Redirection::Init, Redirection::Cni] {
                let injected = check(&text, redirection);
                assert!(injected.contains(names::PROXY_CONTAINER), "{injected}");
            }
        }
    }
}

#[test]
fn what_cannot_be_written_in_safely_is_named_and_nothing_is_printed() {
    for (text, why) in [
        ("kind: Pod\nmetadata:\n  labels:\n  name: a\nspec: {containers: [{name: a}]}\n", "has no value"),
        ("kind: Pod\nmetadata: &m\n  name: a\nspec: {containers: [{name: a}]}\n", "anchor"),
        ("s: &s {containers: [{name: a}]}\nkind: Pod\nspec: *s\n", "alias"),
        ("kind: Pod\nspec: [\n", "no YAML"),
        ("# added by conduit inject\nkind: Pod\n", "injected already"),
    ] {
        let error = manual::written(text, &mesh(Redirection::Init)).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

/// A list of the pod's, in lines, in brackets, empty or not there.
fn list(name: &'static str, layout: usize, pad: &str, indented: bool, noise: &str) -> String {
    let dash = if indented { format!("{pad}  ") } else { pad.to_owned() };
    match layout {
        0 => String::new(),
        1 => format!("{pad}{name}: []  # {noise}\n"),
        2 => format!("{pad}{name}: [ {{name: a}},\n{pad}   {{\"name\": 'b'}} ]\n"),
        3 => format!("{pad}{name}:\n{dash}- name: a\n{dash}  x: |\n{dash}    x{noise}: [\n\n{dash}    - z\n"),
        _ => format!("{pad}{name}:\n{pad}# {noise}\n{dash}- name: a # {{\n{dash}- {{name: b}}\n{pad}# end\n"),
    }
}

/// A pod's manifest, in a layout drawn at random.
fn manifest() -> impl Strategy<Value = String> {
    let lists = (0..5_usize, 2..5_usize, 0..5_usize, any::<bool>());
    let metadata = (0..4_usize, 0..4_usize, any::<bool>());
    let rest = (1..5_usize, any::<bool>(), any::<bool>(), "[a-zé ]{0,5}");
    (lists, metadata, rest).prop_map(
        |(
            (init, containers, volumes, indented),
            (metadata, labels, classic),
            (indent, in_list, last_line, noise),
        )| {
            let pad = |depth: usize| " ".repeat(indent * depth);
            let classic = if classic { "conduit.io/sidecar: classic" } else { "a: b" };
            let labels = match labels {
                0 => String::new(),
                1 => format!("{}labels: {{}}\n", pad(1)),
                2 => format!("{}labels: {{ app: {noise}x }}\n", pad(1)),
                _ => format!("{}labels:\n{}# {noise}\n{}app: x\n", pad(1), pad(2), pad(2)),
            };
            let metadata = match metadata {
                0 => String::new(),
                1 => format!("metadata: {{annotations: {{{classic}}}}}\n"),
                2 => format!("metadata:\n{labels}{}name: a\n", pad(1)),
                _ => format!("metadata:\n{}annotations:\n{}{classic}\n{labels}", pad(1), pad(2)),
            };
            let lists = [("initContainers", init), ("containers", containers), ("volumes", volumes)]
                .map(|(name, layout)| list(name, layout, &pad(1), indented, &noise));
            let text =
                format!("kind: Pod\n# {noise}\n{metadata}spec:\n{}hostname: a\n{}", pad(1), lists.concat());
            let text = match in_list {
                true => {
                    let lines = text.lines().map(|line| match line {
                        "" => "\n".to_owned(),
                        line => format!("  {line}\n"),
                    });
                    format!("kind: List\nitems:\n- {}", lines.collect::<String>().trim_start())
                }
                false => text,
            };
            if last_line { text } else { text.trim_end().to_owned() }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn uninject_gives_back_what_there_was_before_the_containers_were_written_in(
        documents in prop::collection::vec(manifest(), 1..4), windows in any::<bool>(), cni in any::<bool>()
    ) {
        let text = documents.join("\n---\n").replace('\n', if windows { "\r\n" } else { "\n" });
        check(&text, if cni { Redirection::Cni } else { Redirection::Init });
    }
}
