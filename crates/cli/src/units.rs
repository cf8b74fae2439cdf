//! Numbers as people read and write them: durations, rates, shares, bytes. Pure text, in both directions; depends on nothing.

use std::time::Duration;

/// A latency in microseconds: `758µs`, `12.3ms`, `1.2s`.
pub(crate) fn latency_us(us: f64) -> String {
    if us < 999.5 {
        format!("{us:.0}µs")
    } else if us < 999_950.0 {
        format!("{:.1}ms", us / 1e3)
    } else {
        format!("{:.1}s", us / 1e6)
    }
}

/// A latency in milliseconds, as [`latency_us`].
pub(crate) fn latency_ms(ms: f64) -> String {
    latency_us(ms * 1e3)
}

/// A share of one, with two decimals, never rounded up to 100 %: `98.52%`.
pub(crate) fn share(share: f64) -> String {
    // The small addition undoes what binary fractions take away: 0.9852 * 10000 may be 9851.999….
    let hundredths = (share.clamp(0.0, 1.0) * 10_000.0 + 1e-6).floor();
    format!("{:.2}%", hundredths / 100.0)
}

/// A rate with one decimal.
pub(crate) fn rate(per_second: f64) -> String {
    format!("{per_second:.1}")
}

/// Bytes: `5B`, `1.2KiB`, `9.8MiB`.
pub(crate) fn bytes(count: f64) -> String {
    let mut value = count;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1023.95 {
            return if unit == "B" { format!("{value:.0}B") } else { format!("{value:.1}{unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1}TiB")
}

/// Bytes per second, as [`bytes`].
pub(crate) fn bytes_rate(per_second: f64) -> String {
    bytes(per_second) + "/s"
}

/// A long time in its two largest units: `45s`, `2m5s`, `3h12m`, `4d2h`.
pub(crate) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => pair(days, "d", hours % 24, "h"),
        () if hours > 0 => pair(hours, "h", minutes % 60, "m"),
        () if minutes > 0 => pair(minutes, "m", seconds % 60, "s"),
        () => format!("{seconds}s"),
    }
}

fn pair(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

/// Reads `500us`, `10ms`, `1.5s`, `2m`, `1h`. A number without a unit is refused: it would be guessed wrong.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("`{text}` is not a duration: write for example 500us, 10ms, 1.5s, 2m or 1h");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(expected)?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())
}

#[cfg(test)]
#[path = "units_tests.rs"]
mod tests;
