//! Phone numbers that are written in two ways.

use std::borrow::Cow;

/// A number as it is compared. Some mobile numbers are written with or without a digit that marks
/// them as mobile: Argentina's 9 behind 54, Mexico's 1 behind 52, Brazil's 9 behind the area code.
/// Only for comparing: what is kept, shown and sent to is the number as it was given. Brazil's
/// fixed lines begin with 2 to 5 and are left alone, since one of them may be somebody else's.
pub fn comparable(digits: &str) -> Cow<'_, str> {
    let bytes = digits.as_bytes();
    if bytes.len() != 13 || !bytes.iter().all(u8::is_ascii_digit) {
        return Cow::Borrowed(digits);
    }
    let mark = match bytes {
        [b'5', b'4', b'9', ..] | [b'5', b'2', b'1', ..] => 2,
        [b'5', b'5', _, _, b'9', b'6'..=b'9', ..] => 4,
        _ => return Cow::Borrowed(digits),
    };
    Cow::Owned([&digits[..mark], &digits[mark + 1..]].concat())
}

#[cfg(test)]
mod tests {
    use super::comparable;

    #[test]
    fn mobile_numbers_of_three_countries_are_the_same_with_and_without_their_mark() {
        for (with, without) in [
            ("5511987654321", "551187654321"),
            ("5215512345678", "525512345678"),
            ("5491123456789", "541123456789"),
        ] {
            assert_eq!(comparable(with), comparable(without), "{with}");
            assert_eq!(comparable(without), without);
        }
    }

    #[test]
    fn every_other_number_is_itself() {
        for number in [
            // A Brazilian fixed line, and a mobile number that would become one.
            "551133334444",
            "5511933334444",
            // As long, elsewhere.
            "4915112345678",
            "5311987654321",
            // Too short, too long, none at all.
            "52155123456",
            "52155123456789",
            "",
            "+525512345678",
            "५५११९८७६५४३२१",
        ] {
            assert_eq!(comparable(number), number);
        }
    }
}
