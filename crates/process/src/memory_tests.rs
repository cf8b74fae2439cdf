//! What was freed goes back.

use super::{settle, trim, unmap_unused_code};
use crate::usage;

/// Blocks below the threshold of mapped ones, so that they come from the heap.
const BLOCK_BYTES: usize = 16 * 1024;

#[test]
fn pages_between_blocks_in_use_go_back_to_the_kernel() {
    settle();
    let mut blocks: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; BLOCK_BYTES]).collect();
    let full = usage::rss_bytes();
    // Every 64th stays, the heap's end among them: without a trim the heap cannot shrink.
    let mut index = 0;
    blocks.retain(|_| {
        index += 1;
        index % 64 == 0
    });
    trim();
    let after = usage::rss_bytes();
    assert!(after + 48 * 1024 * 1024 < full, "{full} bytes resident, {after} after the trim");
    drop(blocks);
}

/// Pages of files that are mapped: the program's own, here.
fn mapped_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn code_that_is_not_used_is_not_resident_and_what_is_used_works_on() {
    let before = mapped_kb();
    unmap_unused_code();
    let after = mapped_kb();
    assert!(after + after / 4 < before, "{before} kB of files resident, {after} after it");
}
