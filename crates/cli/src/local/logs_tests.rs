use super::*;

#[test]
fn the_last_lines_are_found_whether_or_not_the_last_one_has_an_end() {
    for (text, lines, start) in [
        ("a\nb\nc\n", 2, 2),
        ("a\nb\nc", 2, 2),
        ("a\nb\nc\n", 0, 6),
        ("a\nb\nc\n", 3, 0),
        ("a\nb\nc\n", 9, 0),
        ("", 5, 0),
        ("abc", 1, 0),
    ] {
        // A buffer of two bytes, so that lines lie across its ends.
        let mut file = BufReader::with_capacity(2, text.as_bytes());
        assert_eq!(last_starts(&mut file, lines).unwrap(), start, "{text:?} {lines}");
    }
}

#[test]
fn pods_of_a_world_that_has_ended_are_found_by_their_files() {
    let temporary = tempfile::TempDir::new().unwrap();
    let dir = Dir::new(temporary.path());
    std::fs::create_dir(dir.logs()).unwrap();
    for pod in ["web-10", "web-2", "web-api-1", "other-1"] {
        std::fs::write(dir.log(pod), "x\n").unwrap();
    }
    std::fs::write(dir.proxy_log("web-2"), "x\n").unwrap();
    assert_eq!(left_behind("web", &dir), ["web-2", "web-10"]);
    assert_eq!(left_behind("web-2", &dir), ["web-2"]);
    assert!(left_behind("nobody", &dir).is_empty());
}
