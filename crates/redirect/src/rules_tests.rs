//! The redirection of a pod as data; that the kernel does what it says is for the live tests.

use super::*;

fn rules() -> Rules {
    Rules {
        inbound_port: 4143,
        outbound_port: 4140,
        exempt: Exempt::Uid(2102),
        skip_inbound: vec![22..=22],
        skip_outbound: vec![25..=30],
    }
}

#[test]
fn the_redirect_is_the_last_rule_and_only_returns_come_before_it() {
    let table = redirection(&rules()).expect("fine");
    for chain in table.chains {
        let (last, before) = chain.rules.split_last().expect("rules");
        assert_eq!(last.last(), Some(&Expression::Redirect), "{}", chain.name);
        for rule in before {
            assert_eq!(rule.last(), Some(&Expression::Verdict(Verdict::Return)), "{}: {rule:?}", chain.name);
        }
    }
}

#[test]
fn the_proxys_own_ports_are_skipped_without_being_listed() {
    let table = redirection(&Rules { skip_inbound: Vec::new(), ..rules() }).expect("fine");
    for port in [4190_u16, 4191] {
        assert!(table.chains[0].rules.contains(&port_in(&(port..=port), Verdict::Return)));
    }
}

#[test]
fn too_many_ranges_are_refused_and_as_many_as_allowed_are_not() {
    let allowed = vec![1..=2; SKIP_RANGES_MAX];
    let more = vec![1..=2; SKIP_RANGES_MAX + 1];
    redirection(&Rules { skip_outbound: allowed, ..rules() }).expect("allowed");
    let error = redirection(&Rules { skip_outbound: more, ..rules() }).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "65 outbound port ranges to skip are more than 64: join neighbouring ranges"
    );
}

#[test]
fn a_range_that_ends_before_it_starts_is_refused() {
    let backwards = RangeInclusive::new(30, 25);
    let error = redirection(&Rules { skip_inbound: vec![backwards], ..rules() }).expect_err("empty");
    assert_eq!(error.to_string(), "the inbound port range 30-25 ends before it starts: swap its ends");
}
