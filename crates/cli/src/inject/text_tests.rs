use proptest::prelude::*;

use super::*;

/// Injects, and takes back; gives the injected text.
#[track_caller]
fn check(text: &str) -> String {
    let injected = inject(text).unwrap();
    let back = uninject(&injected.text).unwrap();
    assert_eq!(back.text, text, "injected was:\n{}", injected.text);
    injected.text
}

const DEPLOYMENT: &str = "\
# the web
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # keep
spec:
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: \"web:1\"
";

#[test]
fn comments_and_order_stay_and_the_annotation_is_in_the_pod_template() {
    assert_eq!(
        check(DEPLOYMENT),
        DEPLOYMENT.replace(
            "      labels:",
            "      annotations: # added by conduit inject\n        conduit.io/inject: enabled\n      labels:"
        )
    );
}

#[test]
fn the_remark_says_what_became_of_each_workload() {
    let host = DEPLOYMENT
        .replace("      containers", "      hostNetwork: true\n      containers")
        .replace("name: web ", "name: node ");
    let service = "kind: Service\nmetadata:\n  name: web\n";
    let outcome = inject(&format!("{DEPLOYMENT}---\n{host}---\n{service}")).unwrap();
    assert_eq!(
        outcome.remarks,
        ["deployment/web injected", "deployment/node left alone: it uses its node's network"]
    );
}

#[test]
fn every_layout_comes_back_byte_for_byte() {
    for text in [
        // A template without metadata; a pod; a list with items at its parent's indent; a CronJob.
        "kind: Job\nmetadata: {name: a}\nspec:\n    template:\n        spec: {containers: [{name: a}]}\n",
        "kind: Pod\nmetadata:\n    # here\n    name: a\nspec:\n    containers: []\n",
        "kind: List\nitems:\n- kind: Pod\n  metadata:\n    name: a\n    annotations:\n      x: y\n  spec: {containers: []}\n- metadata: {}\n  kind: Pod\n  spec: {}\n",
        "kind: CronJob\nspec:\n  jobTemplate:\n    spec:\n      template:\n        metadata: {annotations: {}}\n        spec: {}",
        // Braces, quotes, Windows' line ends, a block scalar that looks like YAML, no line end at the end.
        r#"{"kind":"Deployment","spec":{"template":{"metadata":{"annotations":{ "a": "b"}},"spec":{}}}}"#,
        r#"{"kind":"Deployment","spec":{"template":{"spec":{}}}}"#,
        r#"{"kind":"Deployment","spec":{"template":{"metadata":{},"spec":{}}}}"#,
        r#"{"kind":"Deployment","spec":{"template":{"metadata":{"annotations":{}},"spec":{}}}}"#,
        "kind: Pod\r\nmetadata:\r\n  name: a\r\nspec: {}\r\n",
        "kind: ConfigMap\ndata:\n  pod: |\n    kind: Pod\n    metadata:\n      name: a\n---\nkind: Pod\nmetadata: {name: \"é\"}\nspec: {}\n...\n---\n",
        "---\n# nothing\n---\nkind: Pod\n\"metadata\":\n  'name': a\nspec: {}",
    ] {
        let injected = check(text);
        let meant = text.matches("kind: Pod\n").count();
        assert!(injected.contains(INJECT), "{meant} {injected}");
    }
}

#[test]
fn what_cannot_be_edited_safely_is_named_and_nothing_is_printed() {
    for (text, why) in [
        ("kind: Pod\nmetadata:\n  annotations:\n  name: a\nspec: {}\n", "has no value"),
        ("a: &m {name: a}\nkind: Pod\nmetadata: *m\nspec: {}\n", "alias"),
        ("kind: Pod\nmetadata: &m\n  name: a\nspec: {}\n", "anchor"),
        ("kind: Pod\nmetadata: [\n", "no YAML"),
        ("kind: Pod\nmetadata: text\nspec: {}\n", "no mapping"),
        ("# added by conduit inject\nkind: Pod\n", "injected already"),
    ] {
        let error = inject(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn what_asks_or_refuses_already_is_left_as_it_is() {
    for word in ["enabled", "disabled"] {
        let text =
            format!("kind: Pod\nmetadata:\n  annotations:\n    conduit.io/inject: {word}\nspec: {{}}\n");
        assert_eq!(inject(&text).unwrap().text, text);
    }
}

#[test]
fn what_the_cluster_gives_back_is_uninjected_without_the_mark() {
    let text = "kind: Pod\nmetadata:\n  annotations:\n    a: b\n    conduit.io/inject: enabled\n  name: a\nspec: {}\n";
    let expected = "kind: Pod\nmetadata:\n  annotations:\n    a: b\n  name: a\nspec: {}\n";
    assert_eq!(uninject(text).unwrap().text, expected);
    let alone = "kind: Pod\nmetadata:\n  annotations:\n    conduit.io/inject: enabled\n  name: a\nspec: {}\n";
    assert_eq!(
        uninject(alone).unwrap().text,
        "kind: Pod\nmetadata:\n  annotations: {}\n  name: a\nspec: {}\n"
    );
    assert_eq!(uninject(DEPLOYMENT).unwrap().text, DEPLOYMENT);
}

/// A manifest of a workload, in a layout drawn at random.
fn manifest() -> impl Strategy<Value = String> {
    let indent = prop_oneof![Just(1_usize), Just(2), Just(3), Just(4), Just(8)];
    let parts = (0..4_usize, 0..4_usize, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (indent, parts, "[a-zé ]{0,6}", prop_oneof![Just("\n"), Just("\r\n")]).prop_map(
        |(indent, (metadata, annotations, comments, list, flow_spec, last_line), noise, end_of_line)| {
            let pad = |depth: usize| " ".repeat(indent * depth);
            let comment = |depth: usize| match comments {
                true => format!("\n{}# {noise}: {{[\n", pad(depth)),
                false => String::new(),
            };
            let annotations = match annotations {
                0 => String::new(),
                1 => format!("{}annotations: {{}}{}\n", pad(4), if comments { " # empty" } else { "" }),
                2 => format!("{}annotations: {{\"a\": 'b', c: \"{noise}\"}}\n", pad(4)),
                _ => format!("{}annotations:\n{}{}\"a\": |\n{}x: y\n\n", pad(4), comment(5), pad(5), pad(6)),
            };
            let metadata = match metadata {
                0 => String::new(),
                1 => format!("{}metadata: {{{}}}\n", pad(3), if comments { " " } else { "" }),
                2 => format!("{}metadata: {{labels: {{a: b}}, annotations: {{}}}}\n", pad(3)),
                _ => format!("{}metadata:\n{}{annotations}{}name: a\n", pad(3), comment(4), pad(4)),
            };
            let spec = match flow_spec {
                true => "{containers: [{name: a}]}\n".to_owned(),
                false => format!("\n{}containers:\n{}- name: a\n", pad(4), pad(4)),
            };
            let text = format!(
                "kind: Deployment\nspec:\n{}{}template:\n{}{metadata}{}spec: {spec}",
                comment(1),
                pad(2),
                comment(3),
                pad(3)
            );
            let text = match list {
                true => {
                    let item: String = text
                        .lines()
                        .map(|line| match line {
                            "" => "\n".to_owned(),
                            line => format!("  {line}\n"),
                        })
                        .collect();
                    format!("kind: List\nitems:\n- {}", item.trim_start())
                }
                false => text,
            };
            let text = if last_line { text } else { text.trim_end_matches('\n').to_owned() };
            text.replace('\n', end_of_line)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn uninject_gives_back_what_there_was_byte_for_byte(documents in prop::collection::vec(manifest(), 1..4)) {
        let text = documents.join("\n---\n");
        let injected = inject(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        prop_assert_ne!(&injected.text, &text);
        prop_assert_eq!(uninject(&injected.text).unwrap().text, text);
    }

    #[test]
    fn any_text_is_edited_back_or_refused(text in "[-a-z:{}\\[\\]\"'&*|>#,\\n ]{0,60}") {
        let text = format!("kind: Pod\nmetadata: {text}\nspec: {{}}\n");
        if let Ok(injected) = inject(&text) {
            prop_assert_eq!(uninject(&injected.text).unwrap().text, text);
        }
    }
}
