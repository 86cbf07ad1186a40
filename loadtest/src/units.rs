//! Figures as people read them, in a terminal and on a page.

/// What stands where there is no figure.
pub(crate) const NONE: &str = "–";

pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With so many decimals, so that figures below each other line up.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let sign =
        if value < 0.0 && text.contains(|digit| ('1'..='9').contains(&digit)) { "-" } else { "" };
    format!("{sign}{}{rest}", whole.parse().map_or_else(|_| whole.to_owned(), count))
}

/// With the three digits that matter.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size < 9.995 => fixed(value, 2),
        size if size < 99.95 => fixed(value, 1),
        _ => fixed(value, 0),
    }
}

/// With no more digits than it has: for the ticks of an axis.
pub(crate) fn tick(value: f64) -> String {
    let decimals = (0..6).find(|&decimals| {
        let scaled = value * 10_f64.powi(decimals);
        (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1.0)
    });
    fixed(value, decimals.map_or(6, |decimals| decimals as usize))
}

/// Of microseconds.
pub(crate) fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Of seconds.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        seconds if !seconds.is_finite() => NONE.to_owned(),
        seconds if seconds < 99.5 => format!("{} s", tick(seconds.round())),
        seconds => {
            let whole = seconds.round() as u64;
            let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
            let parts = [(hours, "h"), (minutes, "min"), (rest, "s")];
            let parts = parts.iter().filter(|(n, _)| *n > 0).take(2);
            parts.map(|(n, unit)| format!("{n} {unit}")).collect::<Vec<_>>().join(" ")
        }
    }
}

/// A time since something began.
pub(crate) fn clock(seconds: u32) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{rest:02}"),
        _ => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{count, duration, fixed, short, tick};

    #[test]
    fn figures_are_grouped_and_rounded() {
        assert_eq!(["0", "999", "1,000", "12,345,678"], [0, 999, 1_000, 12_345_678].map(count));
        assert_eq!(
            [fixed(1234.567, 2), fixed(-0.001, 1), fixed(-2.5, 1)],
            ["1,234.57", "0.0", "-2.5"]
        );
        assert_eq!(
            [0.123, 9.996, 12.34, 99.96, 4567.8].map(short),
            ["0.12", "10.0", "12.3", "100", "4,568"]
        );
        assert_eq!([0.0, 0.25, 5.0, 20_000.0].map(tick), ["0", "0.25", "5", "20,000"]);
        assert_eq!(
            [12.4, 60.0, 600.0, 3_900.0, 150.0].map(duration),
            ["12 s", "60 s", "10 min", "1 h 5 min", "2 min 30 s"]
        );
    }

    #[test]
    fn what_is_no_number_is_a_dash() {
        let none = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        for value in none {
            assert_eq!([fixed(value, 2), short(value), tick(value), duration(value)], ["–"; 4]);
        }
    }
}
