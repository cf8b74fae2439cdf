//! What a series was in a slot of time that is over, in as few bytes as it can be read back from: a series has fifty such slots, and there are
//! tens of thousands of series. Numbers are written with seven bits in each byte, the lowest first, as in protobuf (LEB128).

use conduit_logic::stats::Counts;

use super::series::Sums;

/// Sums that no longer change.
#[derive(Debug)]
pub(super) struct Past(Box<[u8]>);

impl From<&Sums> for Past {
    fn from(sums: &Sums) -> Self {
        let mut bytes = Vec::new();
        let Sums { successes, failures, mesh_failures, latency, sent, received, connections } = sums;
        for number in [successes, failures, mesh_failures, sent, received, connections] {
            write(&mut bytes, *number);
        }
        let mut before = 0;
        for (bucket, count) in latency.iter() {
            // In order, so that what lies between two is small.
            write(&mut bytes, (bucket - before) as u64);
            write(&mut bytes, count);
            before = bucket;
        }
        Self(bytes.into_boxed_slice())
    }
}

impl From<&Past> for Sums {
    fn from(Past(bytes): &Past) -> Self {
        let mut bytes = bytes.iter();
        let mut next = || read(&mut bytes);
        let mut number = || next().unwrap_or_default();
        let (successes, failures, mesh_failures) = (number(), number(), number());
        let (sent, received, connections) = (number(), number(), number());
        let (mut latency, mut bucket) = (Counts::default(), 0);
        while let (Some(further), Some(count)) = (next(), next()) {
            bucket += further as usize;
            latency.add(bucket, count);
        }
        Self { successes, failures, mesh_failures, latency, sent, received, connections }
    }
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    for byte in bytes {
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
    None
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
