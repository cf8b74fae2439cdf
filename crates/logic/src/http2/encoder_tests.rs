//! What is written is what the decoder reads, whatever is kept, forgotten and resized in between; and what is a secret stays one.

use proptest::prelude::*;

use super::super::hpack::Decoder;
use super::*;

type Field = (Vec<u8>, Vec<u8>, Form);

fn write(encoder: &mut Encoder, fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for (name, value, form) in fields {
        encoder.field(name, value, *form, &mut block);
    }
    block
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    let whole =
        decoder.decode(block, usize::MAX, |name, value, form| fields.push((name.into(), value.into(), form)));
    assert_eq!(whole, Ok(true));
    fields
}

fn field(name: &str, value: &str, form: Form) -> Field {
    (name.into(), value.into(), form)
}

#[test]
fn what_comes_again_is_one_byte_and_what_needs_no_name_has_none() {
    let mut encoder = Encoder::default();
    let fields = [
        field(":method", "POST", Form::Kept),
        field(":path", "/conduit.Web/Call", Form::Kept),
        field("te", "trailers", Form::Kept),
        field("grpc-timeout", "7S", Form::Plain),
        field("authorization", "secret", Form::Never),
    ];
    let first = write(&mut encoder, &fields);
    let second = write(&mut encoder, &fields);
    let plain = 1 + 1 + 12 + 1 + 2;
    assert_eq!(second.len(), 3 + plain + 1 + 1 + 1 + 6, "{second:?}");
    let mut decoder = Decoder::default();
    assert_eq!(read(&mut decoder, &first), fields);
    assert_eq!(read(&mut decoder, &second), fields);
}

#[test]
fn a_table_that_was_smaller_for_a_while_is_told_with_its_smallest_size() {
    let mut encoder = Encoder::default();
    write(&mut encoder, &[field("a", "b", Form::Kept)]);
    encoder.resize(100);
    encoder.resize(1 << 20);
    assert_eq!(write(&mut encoder, &[]), [0x3f, 69, 0x3f, 0xe1, 0x1f]);
    assert_eq!(write(&mut encoder, &[]), []);
    encoder.resize(0);
    assert_eq!(write(&mut encoder, &[field("a", "b", Form::Kept)]), [0x20, 0, 1, b'a', 1, b'b']);
}

fn some_field() -> impl Strategy<Value = Field> {
    let name =
        prop_oneof![Just("content-type"), Just(":status"), Just("x"), Just("cookie"), Just("long-name")];
    let value = prop_oneof!["[a-c]{0,2}", "[ -~]{0,40}", "[x]{2000,5000}", Just("200".to_owned())];
    let form = prop_oneof![3 => Just(Form::Kept), 1 => Just(Form::Plain), 1 => Just(Form::Never)];
    (name, value, form).prop_map(|(name, value, form)| field(name, &value, form))
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        blocks in prop::collection::vec(
            (prop::collection::vec(0_usize..5000, 0..3), prop::collection::vec(some_field(), 0..8)), 1..12),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (sizes, fields) in blocks {
            for size in sizes {
                encoder.resize(size);
            }
            let block = write(&mut encoder, &fields);
            let text = |fields: &[Field]| -> Vec<(Vec<u8>, Vec<u8>, bool)> {
                fields.iter().map(|(name, value, form)| (name.clone(), value.clone(), *form == Form::Never)).collect()
            };
            prop_assert_eq!(text(&read(&mut decoder, &block)), text(&fields));
        }
    }
}
