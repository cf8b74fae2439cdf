//! What pods say to each other through the mesh: the demo application, a database that speaks first, and pods without a proxy on either
//! side. Every test reads from the proxies who was spoken to, how, and what both ends proved.

use std::collections::BTreeSet;

use conduit_testbed::demo::app::{Counts, ROLES};
use conduit_testbed::wait;

use crate::edges::{Edge, identity, inbound, outbound};
use crate::mesh::meshed;
use crate::support::{DEMO_IMAGE, SOON, Space, demo_of};

/// Who calls whom in the demo application, and what they speak.
const CALLS: [(&str, &str, &str); 7] = [
    ("catalog", "grpc", "prices"),
    ("load", "http/1.1", "web"),
    ("web", "grpc", "catalog"),
    ("web", "grpc", "prices"),
    ("web", "grpc", "voting"),
    ("web", "http/1.1", "recommend"),
    ("web", "tcp", "ledger"),
];

/// HTTP/1.1, gRPC (one message, a stream, both ways) and TCP between the pods of seven workloads, each with an account of its own. Both
/// ends of every connection are asked who the other proved to be.
#[test]
fn the_demo_loses_no_request_and_each_of_its_ways_is_mutual_tls_between_the_two_identities() {
    let space = meshed("traffic-demo");
    let (load, servers): (Vec<_>, Vec<_>) = ROLES.into_iter().partition(|role| role.port.is_none());
    space.apply(&demo_of(2, &servers));
    for role in &servers {
        space.available(role.name);
    }
    space.apply(&demo_of(1, &load));
    space.available("load");
    let counts = wait::for_some(SOON, || {
        let counts = Counts::last_of(&space.kubectl(&["logs", "deploy/load", "-c", "app", "--tail=5"]))?;
        (counts.sent > 400).then_some(counts)
    });
    let said = || space.kubectl(&["logs", "deploy/load", "-c", "app"]);
    assert_eq!((counts.other_failures, counts.skipped), (0, 0), "{}", said());
    assert!(counts.succeeded > counts.own_failures, "{counts:?}");

    for role in ROLES {
        let pods = space.pods(role.name);
        let mine: BTreeSet<(String, String, Option<String>)> = pods
            .iter()
            .flat_map(|pod| outbound(&space, pod))
            .map(|edge| (edge.protocol, edge.workload, edge.identity))
            .collect();
        let calls = CALLS.iter().filter(|(caller, ..)| *caller == role.name);
        let expected = calls.map(|(_, protocol, callee)| {
            ((*protocol).to_owned(), (*callee).to_owned(), identity(&space, callee))
        });
        assert_eq!(mine, expected.collect(), "what {} calls", role.name);

        let callers: BTreeSet<(String, Option<String>)> = pods
            .iter()
            .flat_map(|pod| inbound(&space, pod))
            .filter(|edge| !edge.may_be_probes())
            .map(|edge| (edge.protocol, edge.identity))
            .collect();
        let calls = CALLS.iter().filter(|(.., callee)| *callee == role.name);
        let expected = calls.map(|(caller, protocol, _)| ((*protocol).to_owned(), identity(&space, caller)));
        assert_eq!(callers, expected.collect(), "who calls {}", role.name);
    }
}

/// Where the server speaks first, meshes wait for the client's first bytes until a timeout of several seconds passes. Here the client
/// gives the whole handshake two seconds, whether the port is declared (by its name) or not, and also from a pod without a proxy.
#[test]
fn a_database_that_speaks_first_answers_without_a_stall_declared_or_not() {
    let space = meshed("traffic-database");
    let pod = |name: &str, more: &str, command: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}{more}}}, spec: {{
               terminationGracePeriodSeconds: 0, containers: [{{name: app, image: 'localhost/mariadb:1', imagePullPolicy: Never{command}}}]}}}}\n"
        )
    };
    let sleep = ", command: [sleep, '100000']";
    space.apply(
        &[
            pod("db", "", ", readinessProbe: {tcpSocket: {port: 3306}, periodSeconds: 1}"),
            pod("client", "", sleep),
            pod("plain", ", annotations: {conduit.io/inject: disabled}", sleep),
            "---\n{apiVersion: v1, kind: Service, metadata: {name: declared}, spec: {selector: {app: db}, ports: [{name: mysql, port: 3306}]}}
---\n{apiVersion: v1, kind: Service, metadata: {name: undeclared}, spec: {selector: {app: db}, ports: [{port: 3306}]}}"
                .to_owned(),
        ]
        .concat(),
    );
    space.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let query = "mariadb --no-defaults --skip-ssl --connect-timeout=2 -h $0 -N -e 'select 40 + 2'";
    let often = format!("for i in 1 2 3 4 5; do {query} || exit; done");
    for host in ["declared", "undeclared"] {
        for from in ["client", "plain"] {
            // Until the endpoints have reached all who lead to them.
            wait::until(SOON, || space.exec(from, &["sh", "-c", query, host]).is_ok());
            let answer = space.exec(from, &["sh", "-c", &often, host]).unwrap();
            assert_eq!(answer, "42\n".repeat(5), "{from} to {host}");
        }
    }
    let to = |service: &str| Edge {
        protocol: "tcp".to_owned(),
        workload: "db".to_owned(),
        service: format!("{}/{service}:3306", space.name),
        identity: identity(&space, "default"),
    };
    assert_eq!(outbound(&space, "client"), BTreeSet::from([to("declared"), to("undeclared")]));
    let callers: BTreeSet<_> = inbound(&space, "db").into_iter().map(|edge| edge.identity).collect();
    assert_eq!(
        callers,
        BTreeSet::from([None, identity(&space, "default")]),
        "the pod without a proxy and the other"
    );
}

/// A pod with a web server on 8080 and the demo's ledger on 7000, behind a Service of its name.
fn server(name: &str, annotations: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}, annotations: {{{annotations}}}}}, spec: {{
           terminationGracePeriodSeconds: 0, containers: [
             {{name: web, image: 'localhost/nginx:1', imagePullPolicy: Never, readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}}},
             {{name: ledger, image: '{DEMO_IMAGE}', imagePullPolicy: Never, args: [ledger], readinessProbe: {{tcpSocket: {{port: 7000}}, periodSeconds: 1}}}}]}}}}
---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ipFamilyPolicy: PreferDualStack, selector: {{app: {name}}},
       ports: [{{name: web, port: 8080}}, {{name: ledger, port: 7000}}]}}}}\n"
    )
}

/// A pod to call from.
fn caller(name: &str, annotations: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, annotations: {{{annotations}}}}}, spec: {{terminationGracePeriodSeconds: 0,
           containers: [{{name: app, image: 'localhost/tools:1', imagePullPolicy: Never, command: [sleep, '100000']}}]}}}}\n"
    )
}

/// All addresses that lead to a server: its name, its cluster IPs and its pod's own, of each family.
fn addresses(space: &Space, name: &str) -> Vec<String> {
    let service = space.kubectl(&["get", "service", name, "-o", "jsonpath={.spec.clusterIPs[*]}"]);
    let pod = space.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.podIPs[*].ip}"]);
    [name].into_iter().chain(service.split(' ')).chain(pod.split(' ')).map(str::to_owned).collect()
}

/// A mesh is introduced one workload at a time: who has no proxy yet reaches those who have one, and is reached by them.
#[test]
fn pods_with_and_without_a_proxy_reach_each_other_by_service_and_by_address_over_http_and_tcp() {
    const PLAIN: &str = "conduit.io/inject: disabled";
    let space = meshed("traffic-mixed");
    let pods = [server("inside", ""), server("outside", PLAIN), caller("meshed", ""), caller("plain", PLAIN)];
    space.apply(&pods.concat());
    space.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    for (from, to) in [("meshed", "inside"), ("meshed", "outside"), ("plain", "inside")] {
        for address in addresses(&space, to) {
            let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
            let page = ["curl", "-sSf", "-m", "10", &format!("http://{host}:8080/")];
            wait::until(SOON, || space.exec(from, &page).is_ok_and(|page| page.trim() == to));
            let entry = ["sh", "-c", "echo one | nc -w 10 $0 7000", &address];
            let receipt = space.exec(from, &entry).unwrap();
            assert!(receipt.starts_with("OK "), "{from} to {address} of {to}: {receipt}");
        }
    }
    let (inside, account) = (format!("{}/inside", space.name), identity(&space, "default"));
    let edge = |protocol: &str, workload: &str, service: String, identity: Option<&String>| Edge {
        protocol: protocol.to_owned(),
        workload: workload.to_owned(),
        service,
        identity: identity.cloned(),
    };
    let ways = |workload: &str, identity: Option<&String>| {
        [("http/1.1", 8080), ("tcp", 7000)]
            .into_iter()
            .flat_map(move |(protocol, port)| {
                let service = format!("traffic-mixed/{workload}:{port}");
                [service, String::new()].map(|service| edge(protocol, workload, service, identity))
            })
            .collect::<Vec<_>>()
    };
    let expected = [ways("inside", account.as_ref()), ways("outside", None)].concat();
    assert_eq!(outbound(&space, "meshed"), expected.into_iter().collect(), "to {inside} in mutual TLS");
    let callers = ["http/1.1", "tcp"].into_iter().flat_map(|protocol| {
        [account.as_ref(), None].map(|identity| edge(protocol, "", String::new(), identity))
    });
    assert_eq!(inbound(&space, "inside"), callers.collect());
}
