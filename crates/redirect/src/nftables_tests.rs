//! What is written is read again by a reader that shares no code with the writer, and shown as text.

use std::fmt::Write;

use super::*;
use crate::rules::{PRIORITY_DSTNAT, redirection};
use crate::{Exempt, Rules};

/// A message: type, flags, and attributes as text.
struct Read {
    kind: u16,
    flags: u16,
    attributes: String,
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

fn read(batch: Batch) -> Vec<Read> {
    let bytes = batch.into_bytes();
    let (mut at, mut messages) = (0, Vec::new());
    while at < bytes.len() {
        let length = word(&bytes, at);
        assert!(
            length >= 20 && length.is_multiple_of(4) && at + length <= bytes.len(),
            "length {length} at {at}"
        );
        assert_eq!(word(&bytes, at + 8), messages.len(), "sequence numbers count the messages");
        let (kind, flags) = (half(&bytes, at + 4), half(&bytes, at + 6));
        let generic = if kind < 0x100 { [0, 0, 0, 10] } else { [1, 0, 0, 0] };
        assert_eq!(bytes[at + 16..at + 20], generic, "family, version and resource");
        messages.push(Read { kind, flags, attributes: show(&bytes[at + 20..at + length]) });
        at += length;
    }
    messages
}

/// `1=hex 2="text" 3{nested}`.
fn show(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    while !bytes.is_empty() {
        let (length, kind) = (usize::from(half(bytes, 0)), half(bytes, 2));
        let value = &bytes[4..length];
        let padded = length.next_multiple_of(4);
        assert!(bytes[length..padded].iter().all(|byte| *byte == 0), "padding is zero");
        bytes = &bytes[padded..];
        if !text.is_empty() {
            text.push(' ');
        }
        let readable = value.len() > 2 && value[..value.len() - 1].iter().all(u8::is_ascii_lowercase);
        if kind & 0x8000 != 0 {
            write!(text, "{}{{{}}}", kind & 0x7fff, show(value)).expect("a string grows");
        } else if readable && value.ends_with(&[0]) {
            write!(text, "{kind}={:?}", String::from_utf8_lossy(&value[..value.len() - 1]))
                .expect("a string grows");
        } else {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            write!(text, "{kind}={hex}").expect("a string grows");
        }
    }
    text
}

fn table(rules: Vec<Vec<Expression>>) -> Table {
    let base = Base { kind: Kind::Nat, hook: Hook::Output, priority: PRIORITY_DSTNAT };
    Table { name: "table", chains: vec![Chain { name: "chain", base: Some(base), rules }] }
}

#[test]
fn a_replacement_deletes_and_makes_the_table_then_chains_then_rules_in_one_transaction() {
    let messages = read(replacement(&table(vec![Vec::new(), Vec::new()])));
    let kinds: Vec<_> = messages.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [0x10, 0xa00, 0xa02, 0xa00, 0xa03, 0xa06, 0xa06, 0x11]);
    let flags: Vec<_> = messages.iter().map(|message| message.flags).collect();
    assert_eq!(flags, [1, 0x401, 1, 0x401, 0x401, 0xc01, 0xc05, 1]);
    assert_eq!(messages[1].attributes, r#"1="table""#);
    assert_eq!(messages[2].attributes, r#"1="table""#);
}

#[test]
fn a_chain_is_written_with_its_hook_priority_and_type() {
    let messages = read(replacement(&table(Vec::new())));
    assert_eq!(messages[4].attributes, r#"1="table" 3="chain" 4{1=00000003 2=ffffff9c} 5=00000001 7="nat""#);
}

#[test]
fn every_expression_is_written_as_the_kernel_reads_it() {
    let cases = [
        (Expression::Load(Field::SocketUid), r#"1="meta" 2{1=00000001 2=0000000a}"#),
        (Expression::Load(Field::Mark), r#"1="meta" 2{1=00000001 2=00000003}"#),
        (Expression::Load(Field::InputName), r#"1="meta" 2{1=00000001 2=00000006}"#),
        (Expression::Load(Field::OutputName), r#"1="meta" 2{1=00000001 2=00000007}"#),
        (Expression::Load(Field::Family), r#"1="meta" 2{1=00000001 2=0000000f}"#),
        (Expression::Load(Field::Protocol), r#"1="meta" 2{1=00000001 2=00000010}"#),
        (Expression::Load(Field::ConnectionState), r#"1="ct" 2{1=00000001 2=00000000}"#),
        (
            Expression::Load(Field::DestinationPort),
            r#"1="payload" 2{1=00000001 2=00000002 3=00000002 4=00000002}"#,
        ),
        (
            Expression::Load(Field::Source(Family::V4)),
            r#"1="payload" 2{1=00000001 2=00000001 3=0000000c 4=00000004}"#,
        ),
        (
            Expression::Load(Field::Destination(Family::V6)),
            r#"1="payload" 2{1=00000001 2=00000001 3=00000018 4=00000010}"#,
        ),
        (Expression::Random(3), r#"1="numgen" 2{1=00000001 2=00000003 3=00000001}"#),
        (
            Expression::NumberToNetwork,
            r#"1="byteorder" 2{1=00000001 2=00000001 3=00000001 4=00000004 5=00000004}"#,
        ),
        (
            Expression::Compare(Comparison::AtLeast, vec![0, 22]),
            r#"1="cmp" 2{1=00000001 2=00000005 3{1=0016}}"#,
        ),
        (Expression::Set(Register::Second, vec![0x10, 0x2c]), r#"1="immediate" 2{1=00000002 2{1=102c}}"#),
        (Expression::Verdict(Verdict::Return), r#"1="immediate" 2{1=00000000 2{2{1=fffffffb}}}"#),
        (
            Expression::Verdict(Verdict::Jump("there")),
            r#"1="immediate" 2{1=00000000 2{2{1=fffffffd 2="there"}}}"#,
        ),
        (Expression::Redirect, r#"1="redir" 2{1=00000001}"#),
        (Expression::Dnat(Family::V6), r#"1="nat" 2{1=00000001 2=0000000a 3=00000001 5=00000002}"#),
        (Expression::Reset, r#"1="reject" 2{1=00000001 2=00}"#),
    ];
    for (expression, expected) in cases {
        let messages = read(replacement(&table(vec![vec![expression.clone()]])));
        let expected = format!(r#"1="table" 2="chain" 4{{1{{{expected}}}}}"#);
        assert_eq!(messages[5].attributes, expected, "{expression:?}");
    }
}

#[test]
fn the_longest_allowed_rules_of_a_pod_fit_a_socket_that_nothing_was_forced_for() {
    let skipped: Vec<_> = (0..64).map(|n| n * 10..=n * 10 + 5).collect();
    let rules = Rules {
        inbound_port: 4143,
        outbound_port: 4140,
        exempt: Exempt::Uid(2102),
        skip_inbound: skipped.clone(),
        skip_outbound: skipped,
    };
    let bytes = replacement(&redirection(&rules).expect("allowed")).into_bytes();
    assert!(bytes.len() < 212_992, "{} bytes", bytes.len());
}
