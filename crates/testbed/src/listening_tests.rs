//! Socket tables as the kernel prints them, and what is found in them.

use super::*;

const HEADER: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

fn table(rows: &[(&str, &str)]) -> String {
    let row = |(address, state): &(&str, &str)| {
        format!(
            "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1\n"
        )
    };
    HEADER.to_owned() + &rows.iter().map(row).collect::<String>()
}

fn check(tcp: &[(&str, &str)], tcp6: &[(&str, &str)], ports: &[u16]) -> (bool, bool) {
    let (tcp, tcp6) = (table(tcp), table(tcp6));
    let found = found(&listeners(&tcp), &listeners(&tcp6), ports);
    (found.ipv4, found.ipv6)
}

#[test]
fn a_listener_on_all_ipv4_addresses_is_found_for_ipv4_alone() {
    assert_eq!(check(&[("00000000:1F90", "0A")], &[], &[8080]), (true, false));
}

#[test]
fn a_listener_on_all_ipv6_addresses_is_found_for_both() {
    assert_eq!(check(&[], &[("00000000000000000000000000000000:1F90", "0A")], &[8080]), (true, true));
}

#[test]
fn a_listener_on_loopback_is_not_found() {
    let loopback6 = ("00000000000000000000000001000000:1F90", "0A");
    assert_eq!(check(&[("0100007F:1F90", "0A")], &[loopback6], &[8080]), (false, false));
}

#[test]
fn a_connection_on_the_port_is_not_a_listener() {
    assert_eq!(check(&[("0200004D:1F90", "01")], &[], &[8080]), (false, false));
}

#[test]
fn every_port_has_to_have_a_listener() {
    assert_eq!(check(&[("00000000:1F90", "0A")], &[], &[8080, 8081]), (false, false));
    assert_eq!(check(&[("00000000:1F90", "0A"), ("00000000:1F91", "0A")], &[], &[8080, 8081]), (true, false));
}

#[test]
fn without_ports_nothing_has_to_listen() {
    assert_eq!(check(&[], &[], &[]), (true, true));
}
