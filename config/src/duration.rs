//! Durations as people write them: `500ms`, `10s`, `15m`, `24h`, `7d`.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest first, so that a duration prints in the largest unit that fits.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A hundred years: any instant can be that far away.
const MILLIS_MAX: u64 = 36_500 * 86_400_000;

pub(crate) fn serialize<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&print(*value))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    parse(&text).ok_or_else(|| {
        let message = "write 500ms, 10s, 15m, 24h or 7d, at most 36500d";
        D::Error::custom(format!("`{text}` is no duration; {message}"))
    })
}

/// The same for a list.
pub(crate) mod list {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Item(#[serde(with = "super")] Duration);

    pub(crate) fn serialize<S: Serializer>(items: &[Duration], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(items.iter().copied().map(Item))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Duration>, D::Error> {
        Ok(Vec::<Item>::deserialize(d)?.into_iter().map(|item| item.0).collect())
    }
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let millis = number.parse::<u64>().ok()?.checked_mul(*millis)?;
    (millis <= MILLIS_MAX).then_some(Duration::from_millis(millis))
}

fn print(value: Duration) -> String {
    let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    let fits = |unit: u64| millis >= unit && millis.is_multiple_of(unit);
    let unit = UNITS.iter().find(|(_, unit)| fits(*unit));
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", millis / unit))
}

#[cfg(test)]
mod tests {
    use super::{parse, print};

    #[test]
    fn what_is_printed_reads_back_as_the_same_duration() {
        for text in ["0s", "500ms", "90s", "15m", "1h", "7d"] {
            assert_eq!(parse(text).map(print).as_deref(), Some(text));
        }
        assert_eq!(parse("24h").map(print).as_deref(), Some("1d"));
    }

    #[test]
    fn anything_but_a_number_and_a_unit_is_refused() {
        let too_long = ["36501d", "213503982334d", "99999999999999999999d"];
        for text in
            ["", "10", "s", "1.5s", "-1s", "10 s", "10S", "1h30m"].into_iter().chain(too_long)
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
