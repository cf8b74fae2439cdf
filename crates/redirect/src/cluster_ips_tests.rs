//! What is refused before the kernel sees it, and the chances of endpoints.

use super::*;

fn cluster_ip(addr: &str, endpoints: &[&str]) -> ClusterIp {
    let parse = |text: &str| text.parse().expect("an address");
    ClusterIp { addr: parse(addr), endpoints: endpoints.iter().map(|text| parse(text)).collect() }
}

#[test]
fn families_do_not_mix_unless_one_is_the_other_in_disguise() {
    let mixed = cluster_ip("10.96.0.1:80", &["10.1.0.2:80", "[fd00::2]:80"]);
    assert!(matches!(table(&[mixed]), Err(Error::MixedFamilies(..))));
    table(&[cluster_ip("10.96.0.1:80", &["[::ffff:10.1.0.2]:80"])]).expect("both are IPv4");
}

#[test]
fn every_endpoint_has_the_same_chance() {
    let one = cluster_ip("10.96.0.1:80", &["10.1.0.2:80", "10.1.0.3:80", "10.1.0.4:80"]);
    let table = table(&[one]).expect("fine");
    let below: Vec<_> = table.chains[0]
        .rules
        .iter()
        .map(|rule| {
            rule.iter().find_map(|step| if let Expression::Random(n) = step { Some(*n) } else { None })
        })
        .collect();
    assert_eq!(below, [Some(3), Some(2), None]);
}

#[test]
fn more_endpoints_than_the_bound_are_refused() {
    let endpoints = vec![([10, 1, 0, 2], 80).into(); ENDPOINTS_MAX];
    let mut all = vec![ClusterIp { addr: ([10, 96, 0, 1], 80).into(), endpoints }];
    table(&all).expect("as many as allowed");
    all.push(cluster_ip("10.96.0.2:80", &[]));
    assert!(matches!(table(&all), Err(Error::TooMany { count: 8193, .. })));
}
