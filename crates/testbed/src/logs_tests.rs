//! Logs that have grown too long.

use std::io::Write as _;

#[test]
fn a_log_that_has_grown_too_long_is_put_aside_and_its_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web-1.log");
    let mut writer = super::OpenOptions::new().create(true).append(true).open(&path).unwrap();
    writer.write_all(b"0123456789").unwrap();
    super::put_aside(folder.path(), 10).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"0123456789", "the limit is not passed yet");
    writer.write_all(b"a").unwrap();
    super::put_aside(folder.path(), 10).unwrap();
    writer.write_all(b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::read(folder.path().join("web-1.log.1")).unwrap(), b"0123456789a");
}
