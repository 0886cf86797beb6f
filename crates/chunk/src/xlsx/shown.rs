//! What a cell's value looks like by its number format (ISO 29500-1, 18.8.30), as far as it matters for reading.
//!
//! Dates and times are written as ISO 8601 has them, whatever the order in the format: many formats mean different orders in
//! different countries. Colours, conditions, fractions and fill characters are not followed.

/// A longer format is none.
const CODE_BYTES_MAX: usize = 1024;
const DECIMALS_MAX: usize = 30;
/// The day after the last one of the year 9999, which is the last that has a date.
const DAYS_END: f64 = 2_958_466.0;

/// How a number is shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Format {
    /// As it is.
    #[default]
    General,
    /// As a point in time.
    Moment(Moment),
    /// With so many decimals.
    Number(Number),
}

/// Which parts of a point in time are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moment {
    has_year: bool,
    has_month: bool,
    has_day: bool,
    has_hours: bool,
    has_seconds: bool,
    /// Hours, minutes or seconds beyond a day's.
    is_elapsed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Number {
    before: String,
    after: String,
    decimals_min: usize,
    decimals_max: usize,
    has_groups: bool,
    percents: u32,
    thousands: u32,
    is_scientific: bool,
}

impl Format {
    /// A format that has no code in the file, by its number.
    pub(crate) fn built_in(id: u32) -> Format {
        Format::of_code(match id {
            1 => "0",
            2 => "0.00",
            3 | 37 | 38 => "#,##0",
            4 | 39 | 40 => "#,##0.00",
            9 => "0%",
            10 => "0.00%",
            11 | 48 => "0.00E+00",
            14..=17 if id == 17 => "mmm-yy",
            14 | 15 => "d-mmm-yy",
            16 => "d-mmm",
            18 | 20 => "h:mm",
            19 | 21 | 45 | 47 => "h:mm:ss",
            22 => "m/d/yy h:mm",
            41 | 42 => "#,##0",
            43 | 44 => "#,##0.00",
            46 => "[h]:mm:ss",
            // Days, in the calendars of East Asia.
            27..=31 | 36 | 50..=54 | 57 | 58 => "yyyy-mm-dd",
            32..=35 | 55 | 56 => "h:mm:ss",
            _ => "General",
        })
    }

    /// The format of a code, such as `#,##0.00 "kg"` or `yyyy-mm-dd`.
    pub(crate) fn of_code(code: &str) -> Format {
        if code.len() > CODE_BYTES_MAX {
            return Format::General;
        }
        let mut number = Number::default();
        let mut moment = Moment::default();
        let (mut digits, mut is_after_point, mut commas, mut months_or_minutes) = (0, false, 0, false);
        let mut chars = code.chars().peekable();
        while let Some(char) = chars.next() {
            let literal = match char {
                // Other sections are for numbers below zero, zero and text.
                ';' => break,
                '"' => chars.by_ref().take_while(|&char| char != '"').collect(),
                '\\' => chars.next().map(String::from).unwrap_or_default(),
                '_' => {
                    chars.next();
                    " ".to_owned()
                }
                '*' => {
                    chars.next();
                    continue;
                }
                '[' => {
                    let inside: String = chars.by_ref().take_while(|&char| char != ']').collect();
                    match inside.strip_prefix('$') {
                        Some(currency) => currency.split('-').next().unwrap_or_default().to_owned(),
                        None => {
                            let unit = inside.to_ascii_lowercase();
                            let is_unit =
                                |unit: &str, of: char| !unit.is_empty() && unit.chars().all(|char| char == of);
                            if ['h', 'm', 's'].into_iter().any(|of| is_unit(&unit, of)) {
                                (moment.is_elapsed, moment.has_hours) = (true, true);
                            }
                            continue;
                        }
                    }
                }
                '0' | '#' | '?' => {
                    digits += 1;
                    number.has_groups |= commas > 0;
                    commas = 0;
                    if is_after_point {
                        number.decimals_max += 1;
                        if char == '0' {
                            number.decimals_min = number.decimals_max;
                        }
                    }
                    continue;
                }
                '.' if digits > 0 || matches!(chars.peek(), Some('0' | '#' | '?')) => {
                    is_after_point = true;
                    continue;
                }
                ',' if digits > 0 => {
                    commas += 1;
                    continue;
                }
                '%' => {
                    number.percents += 1;
                    "%".to_owned()
                }
                'E' | 'e' if digits > 0 && matches!(chars.peek(), Some('+' | '-')) => {
                    number.is_scientific = true;
                    break;
                }
                'G' | 'g' if code.to_ascii_lowercase().contains("general") => return Format::General,
                'y' | 'Y' | 'e' | 'E' => {
                    moment.has_year = true;
                    continue;
                }
                'm' | 'M' => {
                    months_or_minutes = true;
                    continue;
                }
                'd' | 'D' => {
                    moment.has_day = true;
                    continue;
                }
                'h' | 'H' => {
                    moment.has_hours = true;
                    continue;
                }
                's' | 'S' => {
                    moment.has_seconds = true;
                    continue;
                }
                '@' => return Format::General,
                // A fraction.
                '/' if digits > 0 => return Format::General,
                char => char.to_string(),
            };
            if digits == 0 { number.before.push_str(&literal) } else { number.after.push_str(&literal) }
        }
        number.thousands = commas;
        // Months beside a day or year, or without anything of a time.
        let is_time = moment.has_hours || moment.has_seconds;
        moment.has_month = months_or_minutes && (moment.has_year || moment.has_day || !is_time);
        moment.has_hours |= moment.has_seconds;
        number.decimals_max = number.decimals_max.min(DECIMALS_MAX);
        number.decimals_min = number.decimals_min.min(number.decimals_max);
        if moment.has_year || moment.has_month || moment.has_day || moment.has_hours {
            Format::Moment(moment)
        } else if digits > 0 {
            Format::Number(number)
        } else {
            Format::General
        }
    }

    /// A number as it is shown; one that is none, as it is. Days count from 1904 where `is_from_1904`, else from 1900.
    pub(crate) fn shown(&self, value: &str, is_from_1904: bool) -> String {
        let Some(number) = value.trim().parse::<f64>().ok().filter(|number| number.is_finite()) else {
            return value.to_owned();
        };
        match self {
            Format::General => general(number),
            Format::Moment(moment) => moment.shown(number, is_from_1904).unwrap_or_else(|| general(number)),
            Format::Number(format) => format.shown(number),
        }
    }
}

/// A number with the 15 digits that spreadsheets keep.
fn general(number: f64) -> String {
    let number = rounded(number);
    if number != 0.0 && !(1e-9..1e21).contains(&number.abs()) { format!("{number:E}") } else { number.to_string() }
}

fn rounded(number: f64) -> f64 {
    // Of a whole number below this all digits are kept.
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return number + 0.0;
    }
    let rounded = format!("{number:.14e}").parse().unwrap_or(number);
    // There is no zero below zero.
    if rounded == 0.0 { 0.0 } else { rounded }
}

impl Number {
    fn shown(&self, number: f64) -> String {
        let scale = 100_f64.powi(i32::try_from(self.percents.min(4)).unwrap_or(0))
            / 1000_f64.powi(i32::try_from(self.thousands.min(8)).unwrap_or(0));
        let number = rounded(number * scale);
        if !number.is_finite() {
            return general(number);
        }
        let mut digits = if self.is_scientific {
            format!("{:.*E}", self.decimals_max, number.abs())
        } else {
            let digits = format!("{:.*}", self.decimals_max, number.abs());
            without_zeros(digits, self.decimals_max - self.decimals_min)
        };
        let is_below_zero = number < 0.0 && digits.bytes().any(|digit| (b'1'..=b'9').contains(&digit));
        if self.has_groups && !self.is_scientific {
            digits = grouped(&digits);
        }
        let sign = if is_below_zero { "-" } else { "" };
        format!("{}{sign}{digits}{}", self.before, self.after)
    }
}

/// Without up to `count` zeros at the end of a decimal fraction, and without a point that nothing follows.
fn without_zeros(mut digits: String, count: usize) -> String {
    for _ in 0..count {
        if !digits.ends_with('0') {
            break;
        }
        digits.pop();
    }
    if digits.ends_with('.') {
        digits.pop();
    }
    digits
}

/// With a comma before each group of three digits.
fn grouped(digits: &str) -> String {
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::with_capacity(digits.len() + whole.len() / 3);
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

impl Moment {
    fn shown(self, days: f64, is_from_1904: bool) -> Option<String> {
        if !(0.0..DAYS_END).contains(&days) {
            return None;
        }
        const DAY: i64 = 24 * 60 * 60;
        // A whole number of seconds, or of minutes where those are all that is shown.
        #[allow(clippy::cast_possible_truncation, reason = "it is below the seconds of 10,000 years")]
        let seconds = (days * 86_400.0).round() as i64;
        let (mut day, second) = (seconds / DAY, seconds % DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        if self.is_elapsed {
            return Some(format!("{}:{minute:02}:{second:02}", day * 24 + hour));
        }
        // 1900 has a 29th of February (day 60) in spreadsheets: from then on they are a day ahead.
        day += match (is_from_1904, day) {
            (true, _) => 1462,
            (false, ..60) => 1,
            (false, _) => 0,
        };
        // From 1899-12-30 to 1970-01-01.
        let (year, month, day) = date(day - 25_569);
        let date = match (self.has_year, self.has_month, self.has_day) {
            (false, false, false) => None,
            (true, false, false) => Some(format!("{year:04}")),
            (_, _, false) => Some(format!("{year:04}-{month:02}")),
            (_, _, true) => Some(format!("{year:04}-{month:02}-{day:02}")),
        };
        let time = match (self.has_hours, self.has_seconds) {
            (false, _) => None,
            (true, false) => Some(format!("{hour:02}:{minute:02}")),
            (true, true) => Some(format!("{hour:02}:{minute:02}:{second:02}")),
        };
        Some([date, time].into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_their_format_says() {
        for (code, value, expected) in [
            ("General", "0.30000000000000004", "0.3"),
            ("General", "1234567", "1234567"),
            ("General", "1e300", "1E300"),
            ("General", "-0", "0"),
            ("General", "#N/A", "#N/A"),
            ("0", "2.5001", "3"),
            ("0.00", "3.14159", "3.14"),
            ("#,##0.00", "1234567.891", "1,234,567.89"),
            ("#,##0", "-1234", "-1,234"),
            ("0.0%", "0.1234", "12.3%"),
            ("0.##", "2.5", "2.5"),
            ("0.##", "2", "2"),
            ("\"EUR\" #,##0", "1500", "EUR 1,500"),
            ("#,##0.00\\ [$€-407]", "12.5", "12.50 €"),
            ("$#,##0;[Red]($#,##0)", "99", "$99"),
            ("0.00E+00", "12345", "1.23E4"),
            ("0,\"k\"", "12345", "12k"),
            ("# ?/?", "0.5", "0.5"),
            ("@", "7", "7"),
            ("0 \"kg\"", "-0.2", "0 kg"),
            ("yyyy-mm-dd", "45352", "2024-03-01"),
            ("dd.mm.yyyy hh:mm", "45352.604166666664", "2024-03-01 14:30"),
            ("h:mm:ss AM/PM", "0.5", "12:00:00"),
            ("[h]:mm:ss", "1.5", "36:00:00"),
            ("mmm yyyy", "45352", "2024-03"),
            ("[$-409]d\\-mmm\\-yy;@", "1", "1900-01-01"),
            ("yyyy-mm-dd", "61", "1900-03-01"),
            ("yyyy-mm-dd", "-5", "-5"),
            ("yyyy-mm-dd", "1e9", "1000000000"),
            ("mm:ss", "0.25", "06:00:00"),
        ] {
            assert_eq!(Format::of_code(code).shown(value, false), expected, "{code} of {value}");
        }
        assert_eq!(Format::built_in(14).shown("0", true), "1904-01-01");
        assert_eq!(Format::built_in(10).shown("0.5", false), "50.00%");
    }
}
