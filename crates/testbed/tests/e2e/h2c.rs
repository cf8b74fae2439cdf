//! HTTP/2 without the application's own TLS, to Apache: with prior knowledge, by `Upgrade: h2c`, and from a client that breaks every
//! rule of the protocol in turn.

use std::collections::BTreeSet;

use conduit_api::common::v1::Protocol;
use conduit_testbed::spec::Spec;
use conduit_testbed::wait;
use conduit_testbed::world::World;

use crate::support::{SOON, curl, idle};

/// Apache on port 8080, which says in a header what a request came over.
fn apache(world: &World, protocol: &str) -> Spec {
    let root = world.files().join("apache");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("page"), "the page\n").unwrap();
    let modules = ["mpm_event", "authz_core", "headers", "http2"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
    let config = format!(
        "{}ServerName web\nListen 8080\nUser www-data\nGroup www-data\nPidFile {root}/pid\nDefaultRuntimeDir {root}
         DocumentRoot {root}\nErrorLog /dev/stderr\nProtocols h2c http/1.1\nH2Upgrade on
         Header always set X-Came-Over \"expr=%{{SERVER_PROTOCOL}}\"\n",
        modules.concat(),
        root = root.display()
    );
    let path = root.join("apache.conf");
    std::fs::write(&path, config).unwrap();
    let path = path.display().to_string();
    Spec::new("web", ["apache2", "-f", &path, "-DFOREGROUND"]).port(8080, protocol)
}

/// What came of a request: the version that curl had its answer over, the one that Apache had the request over, and the page.
fn page(world: &World, option: &str) -> (String, String, String) {
    let format = "%{http_version} %header{x-came-over} %{http_code}";
    let output = curl(world, "client", &[option, "-w", format, "http://web:8080/page"]);
    let (page, facts) = output.text().split_once('\n').unwrap();
    let mut facts = facts.split(' ').map(str::to_owned);
    let (curls, apaches, code) = (facts.next().unwrap(), facts.next().unwrap(), facts.next().unwrap());
    assert_eq!((page, code.as_str()), ("the page", "200"));
    (curls, apaches, page.to_owned())
}

#[test]
fn http2_with_prior_knowledge_is_http2_from_end_to_end() {
    for declared in ["", "http", "kubernetes.io/h2c"] {
        let world = World::start();
        world.run(apache(&world, declared));
        world.run(idle("client"));
        let (curls, apaches, _) = page(&world, "--http2-prior-knowledge");
        assert_eq!((curls.as_str(), apaches.as_str()), ("2", "HTTP/2.0"), "declared as `{declared}`");
        let edge = wait::for_some(SOON, || world.edges().into_iter().find(|edge| edge.secured));
        assert_eq!(edge.protocol(), Protocol::Http2, "its requests are seen: declared as `{declared}`");
    }
}

#[test]
fn an_upgrade_to_h2c_is_the_applications_own_and_passes() {
    for declared in ["", "http"] {
        let world = World::start();
        world.run(apache(&world, declared));
        world.run(idle("client"));
        let (curls, apaches, _) = page(&world, "--http2");
        assert_eq!((curls.as_str(), apaches.as_str()), ("2", "HTTP/2.0"), "declared as `{declared}`");
        let (curls, apaches, _) = page(&world, "--http1.1");
        assert_eq!((curls.as_str(), apaches.as_str()), ("1.1", "HTTP/1.1"), "declared as `{declared}`");
        wait::until(SOON, || world.edges().iter().any(|edge| edge.secured));
        assert!(world.edges().iter().all(|edge| edge.secured), "declared as `{declared}`");
    }
}

/// Pain: a proxy that is lax with HTTP/2 is how requests are smuggled and servers are flooded.
#[test]
fn a_client_that_breaks_a_rule_of_http2_is_answered_as_the_standard_has_it() {
    let world = World::start();
    world.run(apache(&world, "kubernetes.io/h2c"));
    world.run(idle("client"));
    page(&world, "--http2-prior-knowledge");
    let command =
        ["h2spec", "-h", "web", "-p", "8080", "--path", "/page", "-o", "3", "generic", "http2", "hpack"];
    let output = world.exec("client", &command);
    let lines = || output.stdout.split(['\r', '\n']).map(str::trim);
    let failed: BTreeSet<&str> = lines().filter(|line| line.starts_with('×')).collect();
    // Priorities are no part of the standard any more (RFC 9113 section 5.3.2).
    let known =
        ["× 1: Sends HEADERS frame that depend on itself", "× 2: Sends PRIORITY frame that depend on itself"];
    assert_eq!(failed, BTreeSet::from(known), "{output:?}");
    let passed = lines().filter(|line| line.starts_with('✔')).count();
    assert!(passed > 140, "{passed} rules: {output:?}");
}
