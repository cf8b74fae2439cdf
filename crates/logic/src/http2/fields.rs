//! The header fields of one HTTP/2 message in one piece, in their order, and whether they make up a message. A message that does not
//! is answered for its sender's fault and never passed on.
//!
//! Source: RFC 9113 sections 8.1.1 (malformed messages), 8.2 (fields), 8.3 (pseudo-fields), 8.5 (CONNECT); RFC 8441 section 4.

use super::hpack::Form;

/// A message's fields are no part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Fields, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    text: Vec<u8>,
    ends: Vec<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    name: u32,
    value: u32,
    form: Form,
}

/// A field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// In lower case.
    pub name: &'a [u8],
    /// Any bytes but line ends.
    pub value: &'a [u8],
    /// How it was sent, and is to be sent on.
    pub form: Form,
}

/// What the fields of a head say of the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Of a response; 0 of a request.
    pub status: u16,
    /// The body has so many bytes.
    pub length: Option<u64>,
    /// A gRPC call, or its answer.
    pub grpc: bool,
}

impl Fields {
    /// Appends a field.
    pub fn push(&mut self, name: &[u8], value: &[u8], form: Form) {
        if self.ends.is_empty() {
            // What the fields of most messages have room in.
            self.text.reserve(256);
            self.ends.reserve(12);
        }
        self.text.extend_from_slice(name);
        let end = self.text.len() as u32;
        self.text.extend_from_slice(value);
        self.ends.push(End { name: end, value: self.text.len() as u32, form });
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|end| end.value as usize));
        self.ends.iter().zip(begins).map(|(end, begin)| Field {
            name: &self.text[begin..end.name as usize],
            value: &self.text[end.name as usize..end.value as usize],
            form: end.form,
        })
    }

    /// The first value of a field.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|field| field.name == name).map(|field| field.value)
    }

    /// The first value of a field, as text; empty without one.
    #[must_use]
    pub fn text(&self, name: &[u8]) -> &str {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    /// The first value of a field, if it is a number.
    #[must_use]
    pub fn number(&self, name: &[u8]) -> Option<u64> {
        self.get(name).and_then(number)
    }

    /// Judges them as a request's head.
    ///
    /// # Errors
    /// When they are none.
    pub fn request(&self) -> Result<Facts, Malformed> {
        let (mut facts, regular) = (Facts::default(), self.judge()?);
        let mut pseudo: [Option<&[u8]>; 5] = [None; 5];
        for field in self.iter().take(regular) {
            let at = match field.name {
                b":method" => 0,
                b":scheme" => 1,
                b":path" => 2,
                b":authority" => 3,
                b":protocol" => 4,
                _ => return Err(Malformed),
            };
            if pseudo[at].replace(field.value).is_some() {
                return Err(Malformed);
            }
        }
        let [method, scheme, path, authority, protocol] = pseudo;
        let method = method.filter(|method| !method.is_empty() && method.iter().all(|byte| is_token(*byte)));
        let whole = match (method.ok_or(Malformed)?, scheme, path, authority, protocol) {
            (b"CONNECT", None, None, Some(_), None) => true,
            (b"CONNECT", Some(_), Some(path), Some(_), Some(_)) => is_path(path, false),
            (b"CONNECT", ..) | (_, _, _, _, Some(_)) => false,
            (method, Some(_), Some(path), _, None) => is_path(path, method == b"OPTIONS"),
            _ => false,
        };
        if !whole {
            return Err(Malformed);
        }
        self.regular(regular, &mut facts)?;
        Ok(facts)
    }

    /// Judges them as a response's head.
    ///
    /// # Errors
    /// When they are none.
    pub fn response(&self) -> Result<Facts, Malformed> {
        let (mut facts, regular) = (Facts::default(), self.judge()?);
        let status = self.iter().next().filter(|field| regular == 1 && field.name == b":status");
        facts.status = match status.ok_or(Malformed)?.value {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'))
            }
            _ => return Err(Malformed),
        };
        // There is no 101 in HTTP/2 (section 8.6).
        if facts.status == 101 {
            return Err(Malformed);
        }
        self.regular(regular, &mut facts)?;
        Ok(facts)
    }

    /// Judges them as trailers.
    ///
    /// # Errors
    /// When they are none.
    pub fn trailers(&self) -> Result<(), Malformed> {
        if self.judge()? == 0 { Ok(()) } else { Err(Malformed) }
    }

    /// Judges each field alone. Returns how many pseudo-fields there are, which come first.
    fn judge(&self) -> Result<usize, Malformed> {
        let (mut pseudo, mut regular) = (0, false);
        for Field { name, value, .. } in self.iter() {
            let is_pseudo = name.first() == Some(&b':');
            if is_pseudo {
                pseudo += 1;
            }
            let named = !name.is_empty() && name[usize::from(is_pseudo)..].iter().all(|byte| is_name(*byte));
            if (is_pseudo && regular) || !named || !is_value(value) || is_of_connection(name, value) {
                return Err(Malformed);
            }
            regular |= !is_pseudo;
        }
        Ok(pseudo)
    }

    fn regular(&self, begin: usize, facts: &mut Facts) -> Result<(), Malformed> {
        for Field { name, value, .. } in self.iter().skip(begin) {
            match name {
                b"content-type" => facts.grpc = value.starts_with(b"application/grpc"),
                b"content-length" => {
                    let length = number(value).ok_or(Malformed)?;
                    if facts.length.replace(length).is_some_and(|before| before != length) {
                        return Err(Malformed);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A number in digits alone.
fn number(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn is_path(path: &[u8], or_all: bool) -> bool {
    path.first() == Some(&b'/') || (or_all && path == b"*")
}

/// RFC 9110 section 5.6.2, which field names are of as well.
const fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
        | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

const fn is_name(byte: u8) -> bool {
    is_token(byte) && !byte.is_ascii_uppercase()
}

/// Blanks around it pass, as everywhere in the field: servers put a message of their own, whatever it ends with, into `grpc-message`.
fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r'))
}

/// Fields that are of one HTTP/1 connection have no place here (section 8.2.2).
fn is_of_connection(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => true,
        b"te" => value != b"trailers",
        _ => false,
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
