//! Quantities as Kubernetes writes them: `10m`, `0.5`, `64Mi`, `1e3`. Only what resources need: not negative, and comparable.
//!
//! Source: Kubernetes API conventions, "Quantity".

/// Suffixes and what they multiply by, in thousandths.
const SUFFIXES: [(&str, u128); 13] = [
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
    ("m", 1),
    ("k", 1000 * 1000),
    ("M", 1000 * 1_000_000),
    ("G", 1000 * 1_000_000_000),
    ("T", 1000 * 1_000_000_000_000),
    ("P", 1000 * 1_000_000_000_000_000),
    ("E", 1000 * 1_000_000_000_000_000_000),
];

/// Digits that a number may have: more than any amount needs, few enough to compute with.
const DIGITS_MAX: usize = 15;

/// A quantity in thousandths, rounded up.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse(text: &str) -> Result<u128, String> {
    let wrong = || format!("`{text}` is not a quantity such as 10m, 0.5 or 64Mi");
    let (number, unit) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1000));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let readable =
        !whole.is_empty() && digits.len() <= DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit());
    if !readable || number.ends_with('.') {
        return Err(wrong());
    }
    let amount: u128 = digits.parse().map_err(|_| wrong())?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
    match (amount * unit).div_ceil(scale) {
        0 => Err(format!("`{text}` is nothing: the proxy needs some")),
        thousandths => Ok(thousandths),
    }
}

#[cfg(test)]
#[path = "quantity_tests.rs"]
mod tests;
