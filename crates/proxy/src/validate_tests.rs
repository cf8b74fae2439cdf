use super::*;

#[test]
fn where_nothing_is_redirected_it_fails_in_time_and_says_whom_to_look_at() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let arguments = ValidateArguments {
        pod_ips: vec!["10.0.0.1".parse().unwrap()],
        skip_outbound_ports: vec![1..=79],
        skip_inbound_ports: Vec::new(),
        outbound_port: free,
        timeout: Duration::from_millis(1),
    };
    let error = run(&arguments).unwrap_err().to_string();
    assert!(error.contains("192.0.2.1:80") && error.contains("conduit-cni"), "{error}");
}

#[test]
fn where_every_port_is_skipped_there_is_nothing_to_wait_for() {
    let arguments = ValidateArguments {
        pod_ips: vec!["10.0.0.1".parse().unwrap()],
        skip_outbound_ports: vec![1..=u16::MAX],
        skip_inbound_ports: Vec::new(),
        outbound_port: 0,
        timeout: Duration::from_millis(1),
    };
    run(&arguments).unwrap();
}
