use super::*;

#[test]
fn latencies_keep_three_figures_or_so() {
    for (us, text) in [
        (0.0, "0µs"),
        (758.0, "758µs"),
        (999.6, "1.0ms"),
        (12_345.0, "12.3ms"),
        (999_960.0, "1.0s"),
        (1_234_000.0, "1.2s"),
    ] {
        assert_eq!(latency_us(us), text);
    }
    assert_eq!(latency_ms(0.009), "9µs");
    assert_eq!(latency_ms(40.0), "40.0ms");
}

#[test]
fn a_share_below_one_never_reads_as_a_hundred_percent() {
    for (value, text) in
        [(1.0, "100.00%"), (0.999_999, "99.99%"), (0.9852, "98.52%"), (0.0, "0.00%"), (0.29, "29.00%")]
    {
        assert_eq!(share(value), text);
    }
}

#[test]
fn bytes_and_ages_take_the_unit_that_fits() {
    for (count, text) in
        [(0.0, "0B"), (5.0, "5B"), (1024.0, "1.0KiB"), (10_276_045.0, "9.8MiB"), (3e12, "2.7TiB")]
    {
        assert_eq!(bytes(count), text);
    }
    for (seconds, text) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (125, "2m5s"),
        (11_520, "3h12m"),
        (354_000, "4d2h"),
        (86_400, "1d"),
    ] {
        assert_eq!(age(seconds), text);
    }
}

#[test]
fn a_duration_needs_a_unit() {
    assert_eq!(parse_duration("10ms"), Ok(Duration::from_millis(10)));
    assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
    assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
    for wrong in ["", "10", "s", "1.2.3s", "-1s", "10 ms", "3d"] {
        assert!(parse_duration(wrong).unwrap_err().contains("10ms"), "{wrong}");
    }
}
