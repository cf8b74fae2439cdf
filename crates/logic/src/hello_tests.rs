use super::*;
use proptest::prelude::*;

/// A ClientHello with the given name and protocols, in records of at most `record` bytes.
fn hello(name: &str, alpn: &[&str], record: usize) -> Vec<u8> {
    fn vec16(body: &[u8]) -> Vec<u8> {
        [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
    }
    let vec8 = |body: &[u8]| [&[u8::try_from(body.len()).unwrap()][..], body].concat();
    let sni = vec16(&[&[0][..], &vec16(name.as_bytes())].concat());
    let protocols = vec16(&alpn.iter().flat_map(|p| vec8(p.as_bytes())).collect::<Vec<_>>());
    let extensions =
        [&[0, 0][..], &vec16(&sni), &[0, 43], &vec16(&[2, 3, 4]), &[0, 16], &vec16(&protocols)].concat();
    let body = [&[3, 3][..], &[7; 32], &vec8(&[9; 32]), &vec16(&[0x13, 1]), &vec8(&[0]), &vec16(&extensions)]
        .concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1, length[1], length[2], length[3]][..], &body].concat();
    message.chunks(record).flat_map(|part| [&[0x16, 3, 1][..], &vec16(part)].concat()).collect()
}

#[test]
fn name_and_protocols_are_read_also_when_the_hello_is_split_into_records() {
    for record in [7, 50, 16_000] {
        let Read::Hello(read) = read(&hello("db.example", &["h2", "http/1.1"], record)) else {
            panic!("not read")
        };
        assert_eq!(read.server_name.as_deref(), Some("db.example"));
        assert_eq!(read.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }
}

#[test]
fn every_shorter_prefix_needs_more() {
    let bytes = hello("a", &["h2"], 40);
    for n in 0..bytes.len() {
        assert_eq!(read(&bytes[..n]), Read::Need, "{n} bytes");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail_otherwise_than_by_saying_no(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), tls in any::<bool>()) {
        if tls && bytes.len() > 6 {
            bytes[..3].copy_from_slice(&[0x16, 3, 1]);
            bytes[3] = 0;
            bytes[5] = 1;
        }
        let _: Read = read(&bytes);
    }
}
