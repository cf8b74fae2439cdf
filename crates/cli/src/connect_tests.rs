use super::*;
use crate::output::Exit;

#[test]
fn a_controller_is_a_socket_or_a_plain_address() {
    assert_eq!("unix:/run/x.sock".parse(), Ok(Target::Unix("/run/x.sock".into())));
    assert_eq!("unix:///run/x.sock".parse(), Ok(Target::Unix("/run/x.sock".into())));
    let http: Target = "http://127.0.0.1:8090".parse().unwrap();
    assert_eq!(http.to_string(), "http://127.0.0.1:8090");
    for wrong in ["", "unix:", "/run/x.sock", "https://host:1", "host:8090", "http://"] {
        assert!(wrong.parse::<Target>().unwrap_err().contains("unix:/path"), "{wrong}");
    }
}

#[test]
fn a_status_becomes_an_exit_code_that_scripts_can_use() {
    for (code, exit) in [
        (Code::NotFound, Exit::Problem),
        (Code::InvalidArgument, Exit::Usage),
        (Code::DeadlineExceeded, Exit::Unreachable),
        (Code::Unavailable, Exit::Problem),
        (Code::Unimplemented, Exit::Problem),
        (Code::Internal, Exit::Problem),
    ] {
        let failure = refused("read the statistics", &Status::new(code, "it is so."));
        assert_eq!(failure.exit(), exit, "{code:?}");
        assert!(failure.to_string().starts_with("cannot read the statistics: it is so ("), "{failure}");
    }
}
