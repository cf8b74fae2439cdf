use super::*;

#[test]
fn an_identity_gives_back_its_parts() {
    let id = Identity::new("cluster.local", "shop", "web-1").unwrap();
    assert_eq!(id.as_str(), "spiffe://cluster.local/ns/shop/sa/web-1");
    assert_eq!((id.trust_domain(), id.namespace(), id.service_account()), ("cluster.local", "shop", "web-1"));
}

#[test]
fn texts_that_only_look_like_identities_are_refused() {
    for text in [
        "",
        "spiffe://",
        "http://d/ns/a/sa/b",
        "spiffe://d/ns/a/sa/",
        "spiffe://d/ns//sa/b",
        "spiffe://d/ns/a/sa/b/",
        "spiffe://D/ns/a/sa/b",
        "spiffe://d/ns/a/sa/b?x=1",
        "spiffe://d/ns/../sa/b",
        "spiffe://d:80/ns/a/sa/b",
        "spiffe://d/NS/a/sa/b",
        "spiffe://d/ns/a%20/sa/b",
    ] {
        assert!(Identity::parse(text).is_err(), "{text} was accepted");
    }
}

#[test]
fn a_declared_protocol_is_read_from_the_words_kubernetes_uses() {
    for (word, declared) in [
        ("http", Declared::Http),
        ("kubernetes.io/h2c", Declared::Http2),
        ("GRPC", Declared::Grpc),
        ("https", Declared::Tls),
        ("mysql", Declared::Opaque),
        ("something", Declared::Detect),
    ] {
        assert_eq!(Declared::parse(word), declared, "{word}");
    }
}
