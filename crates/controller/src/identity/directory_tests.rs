use super::*;
use std::time::Duration;

#[test]
fn a_change_that_was_cut_off_is_finished_by_whoever_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::new(dir.path());
    let before = directory.load_or_make("cluster.local").unwrap();
    let after = before.renew_anchor("cluster.local", SystemTime::now(), Duration::from_secs(60)).unwrap();
    // Killed after the change was written down and the first file replaced.
    replace(&directory.file(CHANGE), &serde_json::to_vec(&after).unwrap(), 0o600).unwrap();
    replace(&directory.file(ISSUER_KEY), after.issuer_key.as_bytes(), 0o600).unwrap();
    assert_eq!(directory.load().unwrap(), after);
    assert!(!directory.file(CHANGE).exists());
    assert_eq!(directory.load_or_make("cluster.local").unwrap(), after);
}

#[test]
fn whatever_has_a_key_in_it_is_for_the_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::new(dir.path());
    let made = directory.load_or_make("cluster.local").unwrap();
    let rotating = made.renew_anchor("cluster.local", SystemTime::now(), Duration::from_secs(60)).unwrap();
    directory.store(&rotating).unwrap();
    assert_eq!(directory.load().unwrap(), rotating);
    for entry in fs::read_dir(dir.path()).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let wanted = if text.contains("PRIVATE KEY") { 0o600 } else { 0o644 };
        assert_eq!(mode, wanted, "{:?}", entry.file_name());
    }
    directory.store(&made).unwrap();
    assert!(!directory.file(ROTATION).exists(), "what is at rest has no rotation");
}

#[test]
fn what_is_half_there_is_an_error_and_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::new(dir.path());
    directory.load_or_make("cluster.local").unwrap();
    fs::remove_file(directory.file(ISSUER_KEY)).unwrap();
    let error = format!("{:#}", directory.load_or_make("cluster.local").unwrap_err());
    assert!(error.contains("issuer.key"), "{error}");
}
