//! The examples of RFC 7541 appendix C, and blocks that are refused.

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn read(decoder: &mut Decoder, hex: &str) -> Result<Vec<String>, Invalid> {
    let mut fields = Vec::new();
    decoder.decode(&bytes(hex), 4096, |name, value, _| {
        fields.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    })?;
    Ok(fields)
}

#[test]
fn requests_refer_to_fields_of_those_before() {
    let first = [":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com"];
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let huffman = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::default();
        assert_eq!(read(&mut decoder, blocks[0]).unwrap(), first);
        let second: Vec<&str> = first.into_iter().chain(["cache-control=no-cache"]).collect();
        assert_eq!(read(&mut decoder, blocks[1]).unwrap(), second);
        let third = [
            ":method=GET",
            ":scheme=https",
            ":path=/index.html",
            ":authority=www.example.com",
            "custom-key=custom-value",
        ];
        assert_eq!(read(&mut decoder, blocks[2]).unwrap(), third);
        // As appendix C.3.3 and C.4.3 give it.
        assert_eq!((decoder.table.len(), decoder.bytes), (3, 164));
    }
}

#[test]
fn the_oldest_fields_leave_a_table_that_is_full() {
    let mut decoder = Decoder::default();
    // A table of 256 bytes, then the responses of appendix C.5.
    let first = "3fe101 4803333032 580770726976617465 611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54 \
                 6e1768747470733a2f2f7777772e6578616d706c652e636f6d";
    assert_eq!(read(&mut decoder, first).unwrap().len(), 4);
    assert_eq!(decoder.bytes, 222);
    let second = read(&mut decoder, "4803333037c1c0bf").unwrap();
    assert_eq!(
        second,
        [
            ":status=307",
            "cache-control=private",
            "date=Mon, 21 Oct 2013 20:13:21 GMT",
            "location=https://www.example.com"
        ]
    );
    assert_eq!((decoder.table.len(), decoder.bytes), (4, 222));
    read(&mut decoder, "20").unwrap();
    assert_eq!((decoder.table.len(), decoder.bytes), (0, 0));
}

#[test]
fn what_is_not_encoded_as_it_must_be_is_refused() {
    for (hex, what) in [
        ("80", "index 0"),
        ("be", "an index behind the table"),
        ("ff80808080 80", "an integer without end"),
        ("ff", "an integer that breaks off"),
        ("0003616263", "a field without a value"),
        ("00036162", "a name that breaks off"),
        ("3fe21f", "a table larger than was allowed"),
        ("8220", "a table's size behind a field"),
        ("0081000161", "a string with wrong padding"),
    ] {
        assert_eq!(read(&mut Decoder::default(), hex), Err(Invalid), "{what}");
    }
}

#[test]
fn of_a_small_block_that_stands_for_much_no_more_is_given_than_is_accepted() {
    let mut decoder = Decoder::default();
    let mut block = bytes("4001617fe006");
    block.extend([b'x'; 0x7f + 0x60 + (6 << 7)]);
    decoder.decode(&block, 4096, |_, _, _| ()).unwrap();
    // The same field, of 1024 bytes as they are counted, some times over, and one more that goes into the table.
    let mut given = 0;
    assert_eq!(decoder.decode(&bytes("bebebebe"), 4096, |_, _, _| given += 1), Ok(true));
    assert_eq!(given, 4);
    assert_eq!(decoder.decode(&bytes("bebebebebe4001620163"), 4096, |_, _, _| given += 1), Ok(false));
    assert_eq!(given, 8);
    assert_eq!(read(&mut decoder, "be").unwrap(), ["b=c"]);
}

#[test]
fn a_secret_is_told_as_one() {
    let mut forms = Vec::new();
    let block = bytes("4001610162 0001610162 1001610162 82");
    Decoder::default().decode(&block, 4096, |_, _, form| forms.push(form)).unwrap();
    assert_eq!(forms, [Form::Kept, Form::Plain, Form::Never, Form::Kept]);
}
