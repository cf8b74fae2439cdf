use super::*;

#[test]
fn a_dual_cluster_has_an_address_of_each_family_and_ipv4_first() {
    let node = Families::Dual.node(2);
    assert_eq!(list(&node), "10.89.0.2,fd89::2");
    assert_eq!(Families::Dual.pods_of(2), ["10.244.2.0/24", "fd44:0:0:2::/64"]);
    assert_eq!(list(&Families::Dual.dns()), "10.96.0.10,fd96::a");
}

#[test]
fn an_ipv6_address_has_brackets_in_a_url() {
    assert_eq!(in_url(Families::V6.node(1)[0]), "[fd89::1]");
    assert_eq!(in_url(Families::V4.node(1)[0]), "10.89.0.1");
}

#[test]
fn families_are_found_by_the_names_they_have() {
    for families in [Families::V4, Families::V6, Families::Dual] {
        assert_eq!(Families::from_name(families.name()), Some(families));
    }
    assert_eq!(Families::from_name("v5"), None);
}
