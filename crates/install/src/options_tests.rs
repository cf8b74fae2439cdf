use super::*;

#[test]
fn what_would_change_the_templates_shape_is_refused() {
    let with = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options.check().map_err(|wrong| wrong.option)
    };
    assert!(with(|_| {}).is_ok());
    assert_eq!(with(|options| options.controller_image = "a\"b".to_owned()), Err("controllerImage"));
    assert_eq!(with(|options| options.image_pull_policy = "Sometimes".to_owned()), Err("imagePullPolicy"));
    assert_eq!(with(|options| options.trust_domain = "a\nb".to_owned()), Err("trustDomain"));
    assert_eq!(with(|options| options.trust_domain = String::new()), Err("trustDomain"));
    assert_eq!(with(|options| options.log_level = "info\"".to_owned()), Err("logLevel"));
    for memory in ["", "1", "Gi", "0Gi", "1.5Gi", "1Gi\nx"] {
        let options = Options { controller_memory: memory.to_owned(), ..Options::default() };
        assert_eq!(options.check().map_err(|wrong| wrong.option), Err("controllerMemory"), "{memory}");
    }
    assert!(with(|options| options.controller_memory = "2048Mi".to_owned()).is_ok());
    assert_eq!(with(|options| options.cluster_networks = "10.0.0.0/8 ".to_owned()), Err("clusterNetworks"));
    assert_eq!(with(|options| options.cni_conf_dir = "etc/cni".to_owned()), Err("cniConfDir"));
    assert_eq!(with(|options| options.cni_bin_dir = "/opt/../etc".to_owned()), Err("cniBinDir"));
    assert_eq!(with(|options| options.issuer_secret = "Mesh\"".to_owned()), Err("issuerSecret"));
}

#[test]
fn an_issuer_that_somebody_else_keeps_is_not_where_the_controller_writes() {
    let with = |secret: &str, bundle: &str| {
        let (issuer_secret, trust_bundle) = (secret.to_owned(), bundle.to_owned());
        Options { issuer_secret, trust_bundle, ..Options::default() }.check().map_err(|wrong| wrong.option)
    };
    assert!(with("mesh-issuer", "").is_ok() && with("mesh-issuer", "mesh.bundle").is_ok());
    assert_eq!(with("conduit-identity", ""), Err("issuerSecret"));
    assert_eq!(with("mesh-issuer", "conduit-trust-anchors"), Err("trustBundle"));
    assert_eq!(with("", "mesh-bundle"), Err("trustBundle"));
}

#[test]
fn a_registry_is_put_before_the_images_name() {
    assert_eq!(image_of("", "conduit-proxy", "1"), "conduit-proxy:1");
    assert_eq!(
        image_of("registry.example/mesh/", "conduit-proxy", "1"),
        "registry.example/mesh/conduit-proxy:1"
    );
}
