use super::*;

fn key(name: usize) -> EdgeKey {
    EdgeKey {
        direction: Direction::Outbound,
        protocol: Protocol::Http1,
        peer_workload: Workload {
            namespace: "shop".into(),
            kind: "Deployment".into(),
            name: format!("w{name}"),
        },
        service: None,
        tls: None,
    }
}

#[test]
fn ten_thousand_peers_do_not_make_ten_thousand_edges() {
    let edges = Edges::default();
    for name in 0..10_000 {
        edges.get(&key(name)).request(Outcome::Success, Duration::from_micros(10));
    }
    let all = edges.all();
    assert!(all.len() <= EDGES_MAX + 1, "{}", all.len());
    let total: u64 = all.iter().map(|(_, counts)| counts.outcomes[0]).sum();
    assert_eq!(total, 10_000, "what is beyond the limit is counted all the same");
}

#[test]
fn the_total_does_not_fall_when_an_edge_is_forgotten() {
    let edges = Edges::default();
    edges.get(&key(1)).request(Outcome::Success, Duration::from_millis(3));
    edges.since_last(|_, _, _| {});
    let long_ago = Instant::now().checked_sub(UNUSED_AGE).expect("an Instant may lie before the boot");
    for entry in edges.known.lock().unwrap().values_mut() {
        entry.used = long_ago;
    }
    edges.since_last(|_, _, _| {});
    assert_eq!((edges.all().len(), edges.total()), (0, 1));
}

#[test]
fn a_report_has_what_came_since_the_last_one() {
    let edges = Edges::default();
    let edge = edges.get(&key(1));
    edge.request(Outcome::Failure, Duration::from_millis(3));
    let mut visits = 0;
    edges.since_last(|_, before, now| {
        visits += 1;
        assert_eq!((before.outcomes[1], now.outcomes[1]), (0, 1));
    });
    edges.since_last(|_, _, _| visits += 1);
    assert_eq!(visits, 1, "an edge without traffic is not reported");
}
