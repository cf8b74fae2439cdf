//! What is read from the controller's answers, and what is counted as the mesh's own failure.

use super::*;

#[test]
fn failures_of_the_mesh_are_the_greater_of_what_proxies_and_load_saw() {
    let snapshot = Snapshot { mesh_failures: 2, ..Snapshot::default() };
    let document = |other_failures, skipped| {
        let load = Counts { own_failures: 9, other_failures, skipped, ..Counts::default() };
        Document::new(snapshot.clone(), load).mesh_failures
    };
    assert_eq!((document(0, 0), document(3, 0), document(3, 1)), (2, 3, 4));
}

#[test]
fn an_edge_keeps_its_words_and_its_protection() {
    let edges = operator::EdgesResponse {
        edges: vec![operator::Edge {
            source: Some(WorkloadRef { name: "web".into(), ..WorkloadRef::default() }),
            destination: Some(WorkloadRef { name: "catalog".into(), ..WorkloadRef::default() }),
            protocol: Protocol::Grpc.into(),
            secured: true,
            tls_version: "TLSv1.3".into(),
            golden: Some(operator::Golden { requests: 5, mesh_failures: 1, ..operator::Golden::default() }),
            ..operator::Edge::default()
        }],
    };
    let snapshot = read(operator::StatResponse::default(), edges, operator::ProxiesResponse::default());
    let edge = &snapshot.edges[0];
    assert_eq!(
        (edge.source.as_str(), edge.destination.as_str(), edge.protocol.as_str()),
        ("web", "catalog", "grpc")
    );
    assert_eq!((edge.secured, edge.requests, snapshot.mesh_failures), (true, 5, 1));
    assert_eq!(protocols(&snapshot.edges)["catalog"], ["grpc"]);
}
