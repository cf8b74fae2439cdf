use super::*;

#[test]
fn a_destination_comes_back_from_the_wire_as_it_went() {
    let destination = words::Destination {
        service: Some(words::Service { namespace: "shop".into(), name: "web".into(), port: 80 }),
        declared: words::Declared::Grpc,
        endpoints: vec![Arc::new(words::Endpoint {
            addr: "[fd00::1]:8080".parse().unwrap(),
            identity: Some(words::Identity::new("cluster.local", "shop", "web").unwrap()),
            workload: words::Workload {
                namespace: "shop".into(),
                kind: "Deployment".into(),
                name: "web".into(),
            },
            pod: words::Pod { namespace: "shop".into(), name: "web-1".into() },
            zone: "a".into(),
            weight: 3,
        })],
    };
    let back: words::Destination = discovery::Outbound::from(&destination).try_into().unwrap();
    assert_eq!(back, destination);
}

#[test]
fn a_message_without_meaning_names_the_field() {
    let bad_ip = common::SocketAddress { ip: vec![1, 2, 3], port: 80 };
    assert_eq!(
        SocketAddr::try_from(&bad_ip).unwrap_err().to_string(),
        "field `ip`: has 3 bytes, not 4 or 16"
    );
    let bad_port = common::SocketAddress { ip: vec![1, 2, 3, 4], port: 70_000 };
    assert_eq!(SocketAddr::try_from(&bad_port).unwrap_err().to_string(), "field `port`: 70000 is over 65535");
}
