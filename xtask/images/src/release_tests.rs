use super::*;

/// The first bytes of an executable with one program header of this type.
fn executable(header: u32) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[32] = 64;
    bytes[54] = 56;
    bytes[56] = 1;
    bytes[64..68].copy_from_slice(&header.to_le_bytes());
    bytes
}

#[test]
fn an_executable_that_asks_for_a_loader_is_not_static() {
    assert!(!is_static(&executable(3)).unwrap());
    assert!(is_static(&executable(1)).unwrap());
}

#[test]
fn what_is_no_executable_or_ends_too_early_is_an_error() {
    assert!(is_static(b"#!/bin/sh").is_err());
    assert!(is_static(&executable(3)[..60]).is_err());
}

#[test]
fn architectures_have_the_names_that_registries_use() {
    assert_eq!(architecture("x86_64-unknown-linux-gnu"), "amd64");
    assert_eq!(architecture("aarch64-unknown-linux-gnu"), "arm64");
}

#[test]
fn no_image_runs_as_root_and_the_proxys_user_is_the_one_that_the_rules_exempt() {
    assert!(RECIPES.iter().all(|recipe| recipe.user != 0));
    assert_eq!(RECIPES[0].user, PROXY_UID);
}
