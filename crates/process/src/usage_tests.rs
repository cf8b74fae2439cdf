//! Tests of the readers of `/proc/self`.

#[test]
fn the_resident_memory_is_read_in_bytes() {
    assert_eq!(super::parse_rss("Name:\tx\nVmRSS:\t    5120 kB\nThreads:\t1\n"), Some(5_242_880));
    assert_eq!(super::parse_rss("Name:\tx\n"), None);
    assert!(super::rss_bytes() > 100_000, "a test binary is larger than that");
}

#[test]
fn the_processor_time_is_read_behind_a_hostile_command_name() {
    let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 150 25 0 0 20 0 1 0 5 1000 10";
    assert_eq!(super::parse_cpu(stat), Some(1.75));
    assert_eq!(super::parse_cpu("42"), None);
    assert!(super::cpu_seconds() >= 0.0);
}

#[test]
fn open_files_are_counted() {
    let before = super::open_files();
    assert!(before >= 3);
}
