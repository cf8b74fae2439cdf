use super::*;

#[test]
fn no_right_is_a_wildcard_and_secrets_are_its_own_namespaces_by_name() {
    for right in CLUSTER.iter().chain(OWN) {
        let words = right.resources.iter().chain(right.verbs).chain(right.names);
        assert!(words.chain([&right.group]).all(|word| !word.contains('*')), "{right:?}");
        assert!(!right.purpose.is_empty());
    }
    assert!(CLUSTER.iter().all(|right| !right.resources.contains(&"secrets")));
    let reads = |right: &&Right| right.resources.contains(&"secrets") && right.verbs != CREATE;
    assert!(OWN.iter().filter(reads).all(|right| !right.names.is_empty()));
}
