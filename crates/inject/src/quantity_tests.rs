use super::*;

#[test]
fn quantities_compare_by_what_they_mean() {
    for (text, thousandths) in
        [("10m", 10), ("1", 1000), ("0.5", 500), ("1.5k", 1_500_000), ("1Ki", 1_024_000), ("0.0001", 1)]
    {
        assert_eq!(parse(text), Ok(thousandths), "{text}");
    }
    assert!(parse("1Gi").unwrap() > parse("1G").unwrap());
}

#[test]
fn what_is_no_quantity_is_refused() {
    for text in
        ["", "m", "-1", "1.", ".5", "1 Mi", "1MiB", "lots", "0", "1e99", "9999999999999999", "1.2.3", "+1"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
}
