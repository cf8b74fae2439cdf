//! What an operator sees of the mesh through the API server, and that it is what his own rights allow.

use conduit_testbed::wait;
use serde_json::Value;

use crate::mesh::{User, WEB, meshed};
use crate::support::{SOON, Space, cluster};

/// Calls the service, again and again.
const CLIENT: &str = "
{apiVersion: apps/v1, kind: Deployment, metadata: {name: client}, spec: {selector: {matchLabels: {app: client}}, template: {
  metadata: {labels: {app: client}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: 'localhost/tools:1',
    imagePullPolicy: Never, command: [sh, -c, 'while :; do curl -s -m 5 http://web/orders; sleep 0.1; done']}]}}}}";

/// A namespace with traffic.
fn shop(name: &str) -> Space {
    let space = meshed(name);
    space.apply(WEB);
    space.apply(CLIENT);
    space.available("web");
    space.available("client");
    space
}

/// The row of a workload.
fn row<'a>(document: &'a Value, name: &str) -> Option<&'a Value> {
    document["rows"].as_array().into_iter().flatten().find(|row| row["name"] == name)
}

#[test]
fn an_operator_sees_a_namespaces_traffic_through_the_api_server() {
    let space = shop("operator-verbs");
    let admin = User::admin();
    wait::until(SOON, || {
        let stat = admin.conduit("stat deploy -n operator-verbs -o json");
        stat.code == 0 && row(&stat.json(), "web").is_some_and(|row| row["requests"].as_u64() > Some(0))
    });
    // As kubectl: the context's namespace where none is named, and all with -A.
    let context = admin.conduit("stat -o json");
    assert!(row(&context.json(), "web").is_none(), "{context:?}");
    let all = admin.conduit("stat -A -o json").json();
    let mut rows = all["rows"].as_array().unwrap().iter();
    assert!(rows.any(|row| row["name"] == "web" && row["namespace"] == "operator-verbs"), "{all}");

    let edges = admin.conduit("edges deploy/web -n operator-verbs -o json").json();
    let edge = &edges["edges"][0];
    assert_eq!(edge["source"]["name"], "client", "{edges}");
    assert_eq!(edge["secured"], true, "{edges}");
    let tap = admin.conduit("tap deploy/web -n operator-verbs --for 3s -o json");
    assert_eq!(tap.code, 0, "{tap:?}");
    assert!(tap.stdout.lines().any(|line| line.contains("/orders")), "{tap:?}");
    let top = admin.conduit("top deploy/web -n operator-verbs --for 2s -o json");
    assert!(top.stdout.contains("/orders"), "{top:?}");

    let pod = space.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"]);
    let proxies = admin.conduit("diagnostics proxies -n operator-verbs -o json").json();
    assert!(
        proxies["proxies"].as_array().unwrap().iter().any(|proxy| proxy["pod"] == pod.as_str()),
        "{proxies}"
    );
    let certificate = admin.conduit(&format!("diagnostics certificate {pod} -n operator-verbs -o json"));
    assert!(certificate.stdout.contains("/ns/operator-verbs/sa/default"), "{certificate:?}");
    assert_eq!(admin.conduit("identity show -o json").json()["trust_domain"], "cluster.local");
    assert_eq!(admin.conduit("version").code, 0);
}

/// Runs the command that a refusal says gives the right.
fn grant(said: &str) {
    let command =
        said.split('`').find(|part| part.starts_with("kubectl create")).expect("a command that helps");
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    cluster().kubectl(&arguments).unwrap_or_else(|error| panic!("{command}: {error:#}"));
}

#[test]
fn a_caller_may_what_his_own_rights_say_and_a_refusal_names_what_is_missing_and_how_it_is_given() {
    let space = shop("operator-rights");
    let user = User::new(&space, "jane");
    let account = "--serviceaccount=operator-rights:jane";
    cluster().kubectl(&["delete", "rolebinding", "jane", "-n", "conduit", "--ignore-not-found"]).unwrap();

    // Without the way to the controller nothing is asked there.
    let refused = user.conduit("stat");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("system:serviceaccount:operator-rights:jane"), "{refused:?}");
    assert!(refused.stderr.contains("--role=conduit-operator"), "{refused:?}");
    cluster()
        .kubectl(&["create", "rolebinding", "jane", "-n", "conduit", "--role=conduit-operator", account])
        .unwrap();

    // With it, each right is one of a namespace.
    wait::until(SOON, || user.conduit("stat").stderr.contains("no right to"));
    let refused = user.conduit("stat -n operator-rights");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("no right to get workloads.conduit.io in namespace operator-rights"),
        "{refused:?}"
    );
    grant(&refused.stderr);
    // The context's namespace.
    wait::until(SOON, || {
        let stat = user.conduit("stat -o json");
        stat.code == 0 && row(&stat.json(), "web").is_some()
    });
    for words in
        ["stat -A", "edges -n default", "diagnostics proxies -A", "identity show", "identity rotate issuer"]
    {
        let refused = user.conduit(words);
        assert_eq!(refused.code, 1, "{words}: {refused:?}");
        assert!(
            refused.stderr.contains("system:serviceaccount:operator-rights:jane has no right to"),
            "{words}: {refused:?}"
        );
    }

    let tap = "tap deploy/web --for 3s -o json";
    let refused = user.conduit(tap);
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");
    assert!(refused.stderr.contains("no right to tap workloads.conduit.io"), "{refused:?}");
    let asked = refused.stderr.split('`').find(|part| part.starts_with("kubectl auth")).unwrap();
    let asked: Vec<&str> = asked.split_whitespace().skip(1).collect();
    let listed = || {
        let mut kubectl = cluster().kubectl_command();
        kubectl.args(&asked).args(["--as", "system:serviceaccount:operator-rights:jane"]);
        let output = String::from_utf8(kubectl.output().unwrap().stdout).unwrap();
        output.lines().any(|line| line.starts_with("workloads.conduit.io") && line.contains("tap"))
    };
    assert!(!listed());
    grant(&refused.stderr);
    // The API server learns of a binding by a watch of its own.
    wait::until(SOON, listed);
    wait::until(SOON, || user.conduit(tap).stdout.contains("/orders"));
    // Whoever looked at requests is in the log.
    let log =
        cluster().kubectl(&["-n", "conduit", "logs", "deploy/conduit-controller", "--since=5m"]).unwrap();
    assert!(log.lines().any(|line| line.contains("operator-rights:jane") && line.contains("Tap")), "{log}");

    // Who may view a namespace may view its traffic, and no requests.
    let viewer = User::new(&space, "viewer");
    let account = "--serviceaccount=operator-rights:viewer";
    space.kubectl(&["create", "rolebinding", "viewer", "--clusterrole=view", account]);
    cluster().kubectl(&["delete", "rolebinding", "viewer", "-n", "conduit", "--ignore-not-found"]).unwrap();
    cluster()
        .kubectl(&["create", "rolebinding", "viewer", "-n", "conduit", "--role=conduit-operator", account])
        .unwrap();
    wait::until(SOON, || user_may(&viewer, "stat"));
    assert!(!user_may(&viewer, tap));
    for name in ["jane", "viewer"] {
        cluster().kubectl(&["delete", "rolebinding", name, "-n", "conduit"]).unwrap();
    }
}

fn user_may(user: &User, words: &str) -> bool {
    user.conduit(words).code == 0
}

#[test]
fn nothing_but_a_forwarded_stream_reaches_the_operators_port_and_without_a_proof_nothing_is_answered() {
    let _space = meshed("operator-port");
    let addresses = "jsonpath={.items[0].status.podIP}";
    let address = cluster().kubectl(&[
        "-n",
        "conduit",
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=conduit-controller",
        "-o",
        addresses,
    ]);
    let address = address.unwrap();
    let host = if address.contains(':') { format!("[{address}]") } else { address };
    let call = |port: u16| {
        let url = format!("https://{host}:{port}/");
        cluster()
            .command("curl")
            .args(["-sS", "-k", "-m", "5", "--http2", &url])
            .output()
            .unwrap()
            .status
            .code()
    };
    let refused = Some(7);
    assert_ne!(call(8443), refused, "the webhook's port is there");
    assert_eq!(call(8087), refused, "the operator's is on the loopback alone");
    // A token that the API server does not know gets nowhere, also not as far as the controller.
    let view = cluster().kubectl(&["config", "view", "--raw", "-o", "json"]).unwrap();
    let mut view: Value = serde_json::from_str(&view).unwrap();
    view["users"][0]["user"] = serde_json::json!({"token": "nobodys"});
    let refused = User::with(&view).conduit("stat -A");
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("Unauthorized"), "{refused:?}");
}
