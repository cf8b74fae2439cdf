//! The Huffman code of HTTP/2 header fields, for reading alone. The code is canonical, so the lengths of its symbols say all of it;
//! the tables are made of them when this is compiled. It depends on nothing.
//!
//! Source: RFC 7541 section 5.2 and appendix B.

/// Symbols: all bytes, and the end, which no string may hold.
const SYMBOLS: usize = 257;
/// The longest code, in bits.
const LONGEST: usize = 30;
/// Codes up to so many bits are found by one look.
const SHORT: usize = 8;

/// How many bits each symbol has.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// The string is not of this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

/// The code, sorted by length and then by symbol, which is the order of the codes' values.
struct Code {
    symbols: [u16; SYMBOLS],
    /// For each length: where its symbols begin, and its first code.
    first: [(usize, u32); LONGEST + 1],
    /// For each length: the end of its codes, aligned to the left of 32 bits.
    end: [u64; LONGEST + 1],
}

static CODE: Code = code();
/// Symbol and length of the code that these bits begin with; length 0: a longer one.
static SHORT_CODES: [(u8, u8); 1 << SHORT] = short_codes();

const fn code() -> Code {
    let mut code = Code { symbols: [0; SYMBOLS], first: [(0, 0); LONGEST + 1], end: [0; LONGEST + 1] };
    let (mut length, mut count, mut next) = (1, 0, 0_u32);
    while length <= LONGEST {
        code.first[length] = (count, next);
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                code.symbols[count] = symbol as u16;
                count += 1;
                next += 1;
            }
            symbol += 1;
        }
        code.end[length] = (next as u64) << (32 - length);
        next <<= 1;
        length += 1;
    }
    code
}

const fn short_codes() -> [(u8, u8); 1 << SHORT] {
    let (code, mut found) = (code(), [(0, 0); 1 << SHORT]);
    let mut bits = 0;
    while bits < found.len() {
        let mut length = 1;
        while length <= SHORT {
            if (bits as u64) << (32 - SHORT) < code.end[length] {
                let (begin, first) = code.first[length];
                let at = begin + (bits >> (SHORT - length)) - first as usize;
                found[bits] = (code.symbols[at] as u8, length as u8);
                break;
            }
            length += 1;
        }
        bits += 1;
    }
    found
}

/// Appends what `text` stands for.
///
/// # Errors
/// When it holds the end's code, or does not end as it must: with the code's first bits, fewer than eight, all of them ones.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    // The next bits, aligned to the left.
    let (mut bits, mut held) = (0_u64, 0_usize);
    let mut rest = text;
    loop {
        while held <= 56
            && let Some((byte, tail)) = rest.split_first()
        {
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
            rest = tail;
        }
        if held == 0 {
            return Ok(());
        }
        // As if the padding went on.
        let padded = bits | u64::MAX.checked_shr(held as u32).unwrap_or(0);
        let (symbol, length) = next((padded >> 32) as u32);
        if length > held {
            return if held < 8 && padded == u64::MAX { Ok(()) } else { Err(Invalid) };
        }
        out.push(u8::try_from(symbol).map_err(|_| Invalid)?);
        bits <<= length;
        held -= length;
    }
}

/// The symbol whose code these bits begin with, and its length.
fn next(bits: u32) -> (u16, usize) {
    let (symbol, length) = SHORT_CODES[(bits >> (32 - SHORT)) as usize];
    if length > 0 {
        return (u16::from(symbol), usize::from(length));
    }
    let longer = (SHORT + 1..LONGEST).find(|length| u64::from(bits) < CODE.end[*length]).unwrap_or(LONGEST);
    let (begin, first) = CODE.first[longer];
    let at = begin + ((bits >> (32 - longer)) - first) as usize;
    (CODE.symbols[at], longer)
}

#[cfg(test)]
#[path = "huffman_tests.rs"]
mod tests;
