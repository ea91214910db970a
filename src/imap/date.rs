//! The date that APPEND gives a message (RFC 3501, `date-time`): `" 7-Feb-1994 21:52:25 -0800"`.

/// Its length, whatever it says.
const LEN: usize = 26;

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// Seconds since 1970, or before it; `None` where the text is no such date. Days that no month has are taken as those behind
/// its end.
pub(super) fn date_time(text: &[u8]) -> Option<i64> {
    let text: &[u8; LEN] = text.try_into().ok()?;
    let [
        d1,
        d2,
        b'-',
        m1,
        m2,
        m3,
        b'-',
        y1,
        y2,
        y3,
        y4,
        b' ',
        h1,
        h2,
        b':',
        i1,
        i2,
        b':',
        s1,
        s2,
        b' ',
        sign,
        z1,
        z2,
        z3,
        z4,
    ] = *text
    else {
        return None;
    };
    let tens = if d1 == b' ' { b'0' } else { d1 };
    let (day, year) = (number(&[tens, d2])?, number(&[y1, y2, y3, y4])?);
    let name = [m1, m2, m3].map(|byte| byte.to_ascii_lowercase());
    let month = MONTHS.iter().position(|known| **known == name)?;
    let month = i64::try_from(month).ok()? + 1;
    let seconds = number(&[h1, h2])? * 3600 + number(&[i1, i2])? * 60 + number(&[s1, s2])?;
    let zone = number(&[z1, z2])? * 3600 + number(&[z3, z4])? * 60;
    let zone = match sign {
        b'+' => zone,
        b'-' => -zone,
        _ => return None,
    };
    Some(days(year, month, day) * 86_400 + seconds - zone)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

/// Days since 1970-01-01 in the Gregorian calendar: years begin in March, so that the day that leap years add comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let since_march = (month + 9) % 12;
    let year = if month <= 2 { year - 1 } else { year };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let of_year = (153 * since_march + 2) / 5 + day - 1;
    year * 365 + leaps + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_read_with_their_zone() {
        for (text, seconds) in [
            ("01-Jan-1970 00:00:00 +0000", 0),
            (" 1-Jan-1970 01:00:00 +0100", 0),
            ("31-Dec-1969 23:59:59 +0000", -1),
            (" 7-Feb-1994 21:52:25 -0800", 760_686_745),
            ("29-Feb-2024 12:00:00 +0000", 1_709_208_000),
            ("01-MAR-2000 00:00:00 +0000", 951_868_800),
            ("26-nov-2026 15:00:00 +0530", 1_795_685_400),
        ] {
            assert_eq!(date_time(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "1-Jan-1970 00:00:00 +0000",
            "01-Foo-1970 00:00:00 +0000",
            "01-Jan-1970T00:00:00 +0000",
            "01-Jan-1970 00:00:00 *0000",
            "0x-Jan-1970 00:00:00 +0000",
            "01-Jan-19700 00:00:00 +000",
        ] {
            assert_eq!(date_time(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = date_time(&text);
        }

        #[test]
        fn a_day_follows_the_day_before(start in -200_000_i64..200_000) {
            // Every date is one day behind another one: no day is left out, none comes twice.
            let (year, month, day) = civil(start);
            prop_assert_eq!(days(year, month, day), start);
        }
    }

    /// Counts on from 1970, month by month.
    fn civil(mut left: i64) -> (i64, i64, i64) {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut year = 1970;
        while left < 0 {
            year -= 1;
            left += if leap(year) { 366 } else { 365 };
        }
        while left >= if leap(year) { 366 } else { 365 } {
            left -= if leap(year) { 366 } else { 365 };
            year += 1;
        }
        let february = if leap(year) { 29 } else { 28 };
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        (year, month, left + 1)
    }
}
