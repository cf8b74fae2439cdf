//! The strings of RFC 7541 appendix C.4, and how a string must end.

use super::*;

fn decoded(hex: &str) -> Result<String, Invalid> {
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let mut out = Vec::new();
    decode(&bytes, &mut out).map(|()| String::from_utf8(out).unwrap())
}

#[test]
fn strings_of_the_standard_are_read() {
    for (hex, text) in [
        ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
        ("a8eb10649cbf", "no-cache"),
        ("25a849e95ba97d7f", "custom-key"),
        ("25a849e95bb8e8b4bf", "custom-value"),
        ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("", ""),
    ] {
        assert_eq!(decoded(hex).as_deref(), Ok(text));
    }
}

#[test]
fn padding_is_short_and_of_ones_and_the_end_is_no_symbol() {
    // '0' is 00000: padding of zeros, of a whole byte, and the code of the end.
    for hex in ["00", "07ff", "ffffffff", "fffffffc"] {
        assert_eq!(decoded(hex), Err(Invalid), "{hex}");
    }
    assert_eq!(decoded("07").as_deref(), Ok("0"));
}

#[test]
fn every_symbol_is_read_back_from_its_code() {
    // The codes made again, in the other direction.
    for symbol in 0..=255_u8 {
        let at = CODE.symbols.iter().position(|found| *found == u16::from(symbol)).unwrap();
        let length = usize::from(LENGTHS[usize::from(symbol)]);
        let (begin, first) = CODE.first[length];
        let bits = (u64::from(first) + (at - begin) as u64) << (64 - length) | u64::MAX >> length;
        let mut out = Vec::new();
        decode(&bits.to_be_bytes()[..length.div_ceil(8)], &mut out).unwrap();
        assert_eq!(out, [symbol]);
    }
}
