//! What is made of callgrind's words.

use super::*;

#[test]
fn each_life_of_a_proxy_leaves_one_count_in_its_log() {
    let log = "INFO Collected : no count\n==7== Events    : Ir\n==7== Collected : 1200\nINFO more\n==9== Collected : 3400\n";
    assert_eq!(collected(log), [1200, 3400]);
}

#[test]
fn what_a_proxy_does_by_itself_does_not_count() {
    let counted = Counted::of("HTTP/1.1".to_owned(), (100, 10_000, 20_000), (300, 30_000, 50_000)).unwrap();
    assert_eq!((counted.requests, counted.client, counted.server), (200, 100, 150));
    assert_eq!(Counted::of(String::new(), (100, 0, 0), (100, 1, 1)), None);
}
