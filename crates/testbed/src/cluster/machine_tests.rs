use std::process::Command;

use super::*;

#[test]
fn a_process_is_known_by_its_number_and_its_start() {
    let own = std::process::id();
    assert!(start_of(own).is_some_and(|start| start > 0));
    assert_eq!(start_of(own), start_of(own));
    assert_eq!(start_of(u32::MAX), None);
}

#[test]
fn a_child_is_found_by_its_parent_and_by_its_program() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    crate::wait::until(Duration::from_secs(5), || {
        processes_beside(std::process::id(), Some("sleep")).contains(&child.id())
    });
    assert!(children(std::process::id()).contains(&child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!children(std::process::id()).contains(&child.id()));
}

#[test]
fn what_does_not_come_in_time_is_an_error_that_names_it() {
    let error = wait("the moon", Duration::ZERO, || bail!("it is day")).unwrap_err();
    assert_eq!(format!("{error:#}"), "the moon not within 0 s: it is day");
}
