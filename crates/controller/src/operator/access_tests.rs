use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;

#[test]
fn a_certificate_names_its_user_and_groups_as_the_api_server_reads_it() {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "jane");
    params.distinguished_name.push(DnType::OrganizationName, "shop-team");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let user = User::of_certificate(&[certificate.der().clone()]).unwrap();
    assert_eq!(user.name, "jane");
    assert_eq!(user.groups, ["shop-team", "system:authenticated"]);
}

#[test]
fn a_certificate_without_a_name_is_nobodys() {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    assert_eq!(User::of_certificate(&[certificate.der().clone()]), None);
    assert_eq!(User::of_certificate(&[]), None);
}

#[test]
fn a_refusal_names_the_missing_right_and_the_commands_that_show_and_give_it() {
    let user = |name: &str| User { name: name.to_owned(), ..User::default() };
    let said = refusal(&user("Jane@example.com"), Deed::Tap, "shop");
    assert_eq!(
        said.message(),
        "Jane@example.com has no right to tap workloads.conduit.io in namespace shop\n\
         `kubectl auth can-i --list -n shop` shows what is allowed, `kubectl create rolebinding \
         conduit-tap-jane-example-com -n shop --clusterrole=conduit-tap --user=Jane@example.com` allows it"
    );
    let said = refusal(&user("system:serviceaccount:shop:bot"), Deed::View, "");
    assert!(said.message().contains("get workloads.conduit.io in all namespaces\n"), "{}", said.message());
    assert!(said.message().contains("can-i --list` shows"), "{}", said.message());
    assert!(
        said.message().contains("--clusterrole=conduit-view --serviceaccount=shop:bot`"),
        "{}",
        said.message()
    );
    let said = refusal(&user("jane"), Deed::Rotate, "");
    assert!(said.message().contains("no right to rotate identities.conduit.io\n"), "{}", said.message());
}
