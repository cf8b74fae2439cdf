use super::*;

fn server(minor: u32, skew_s: Option<i64>) -> Server {
    Server { version: format!("v1.{minor}.0"), minor, skew_s }
}

#[test]
fn a_date_of_http_is_read() {
    assert_eq!(unix_s("Fri, 27 Nov 2026 19:44:51 GMT"), Some(1_795_808_691));
    assert_eq!(unix_s("yesterday"), None);
}

#[test]
fn before_native_sidecars_the_classic_ones_are_named_and_before_endpoint_slices_nothing_works() {
    assert_eq!(version(&server(35, None)), Verdict::Ok("v1.35.0".into()));
    let Verdict::Warn(said) = version(&server(28, None)) else { panic!("no warning") };
    assert!(said.contains("--sidecar classic"), "{said}");
    assert_eq!(version(&server(20, None)), Verdict::Fail("v1.20.0 is older than 1.21".into()));
}

#[test]
fn a_clock_that_is_off_is_told_with_its_direction() {
    assert_eq!(clock(&server(35, Some(-30))), Verdict::Ok("within 30s".into()));
    assert_eq!(
        clock(&server(35, Some(31))),
        Verdict::Warn("this machine is 31s ahead of the API server".into())
    );
    assert_eq!(
        clock(&server(35, Some(-90))),
        Verdict::Warn("this machine is 90s behind the API server".into())
    );
    assert!(matches!(clock(&server(35, None)), Verdict::Skip(_)));
}
