use super::*;

#[test]
fn a_process_may_open_as_many_files_as_whoever_started_it_allows() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // As a container runtime starts it; enough for the tests beside this one.
    setrlimit(Resource::RLIMIT_NOFILE, 1024.min(hard), hard).unwrap();
    raise_open_files();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
}
