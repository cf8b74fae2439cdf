//! Bytes of batches and the reading of answers; no socket.

use super::*;

/// An answer of the kernel to the message with that sequence number.
fn answer(sequence: u32, errno: i32) -> Vec<u8> {
    let mut bytes = 36_u32.to_ne_bytes().to_vec();
    bytes.extend(2_u16.to_ne_bytes());
    bytes.extend(0x100_u16.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend((-errno).to_ne_bytes());
    bytes.extend([0; 16]);
    bytes
}

fn verdict(datagrams: &[Vec<u8>]) -> Result<(), Error> {
    let mut answers = Answers::default();
    for datagram in datagrams {
        answers.add(datagram);
    }
    answers.verdict(&["the transaction".to_owned(), "table t".to_owned(), "rule 1 of chain c".to_owned()])
}

#[test]
fn attributes_are_padded_and_their_length_is_not() {
    let mut bytes = Vec::new();
    Attributes(&mut bytes).nest(4, |nested| {
        nested.string(1, "lo");
        nested.bytes(2, &[9]);
    });
    let expected = [20, 0, 4, 0x80, 7, 0, 1, 0, b'l', b'o', 0, 0, 5, 0, 2, 0, 9, 0, 0, 0];
    assert_eq!(bytes, if cfg!(target_endian = "little") { expected.to_vec() } else { bytes.clone() });
}

#[test]
fn only_the_last_message_before_the_end_asks_for_an_answer() {
    let mut batch = Batch::new();
    batch.message(|| "a".to_owned(), 0, 0, |_| {});
    batch.message(|| "b".to_owned(), 0, 0, |_| {});
    let flags: Vec<_> =
        batch.into_bytes().chunks(20).map(|message| u16::from_ne_bytes([message[6], message[7]])).collect();
    assert_eq!(flags, [1, 1, 5, 1]);
}

#[test]
fn an_acknowledgement_without_errors_is_success() {
    assert!(verdict(&[answer(2, 0)]).is_ok());
}

#[test]
fn silence_is_no_success() {
    assert!(matches!(verdict(&[]), Err(Error::NoAnswer)));
}

#[test]
fn the_first_error_counts_and_names_its_step() {
    let answers = [answer(1, libc::EEXIST), [answer(2, libc::EINVAL), answer(2, 0)].concat()];
    let error = verdict(&answers).expect_err("refused");
    assert!(matches!(&error, Error::Refused { what, .. } if what == "table t"), "{error:?}");
    let together = [[answer(2, 0), answer(1, libc::EINVAL)].concat()];
    assert!(verdict(&together).is_err(), "an acknowledgement does not undo an error");
}

#[test]
fn errors_say_what_to_do() {
    let text = |errno| verdict(&[answer(2, errno)]).expect_err("refused").to_string();
    assert!(text(libc::EPERM).contains("CAP_NET_ADMIN"));
    for errno in [libc::ENOENT, libc::EOPNOTSUPP] {
        assert!(
            text(errno).contains("rule 1 of chain c") && text(errno).contains("nft_redir"),
            "{}",
            text(errno)
        );
    }
    assert!(text(libc::ENOMEM).contains("nothing was changed"));
}

#[test]
fn answers_that_are_cut_short_or_lie_about_their_length_are_passed_over() {
    let whole = [answer(1, libc::EPERM), answer(2, 0)].concat();
    for end in 0..whole.len() {
        for length in [0, 1, 15, 16, 17, 35, 37, u32::MAX] {
            let mut bytes = whole[..end].to_vec();
            if let Some(place) = bytes.get_mut(..4) {
                place.copy_from_slice(&length.to_ne_bytes());
            }
            _ = verdict(&[bytes]);
        }
        assert!(end >= 36 || verdict(&[whole[..end].to_vec()]).is_err());
    }
}
