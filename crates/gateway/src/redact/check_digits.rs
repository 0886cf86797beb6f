//! Check digits: whether a number can have been issued. All of them sum weighted digits; the sources are the standards named,
//! and each state's own rules.

/// The digits of `text`, everything else left out.
pub(super) fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

fn weighted(numbers: &[u32], weights: &[u32]) -> u32 {
    numbers.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// Luhn (ISO/IEC 7812-1 annex B); the last digit checks.
pub(super) fn luhn(numbers: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let sum: u32 =
        numbers.iter().rev().enumerate().map(|(at, digit)| if at % 2 == 1 { doubled(*digit) } else { *digit }).sum();
    sum.is_multiple_of(10) && numbers.iter().any(|digit| *digit != 0)
}

/// The remainder by 97 of a number whose places are `values`, 0 to 35 (ISO 7064, mod 97-10).
pub(super) fn mod_97(values: impl Iterator<Item = u32>) -> u32 {
    values.fold(0, |rest, value| if value > 9 { (rest * 100 + value) % 97 } else { (rest * 10 + value) % 97 })
}

/// Whether day and month are of a calendar.
pub(super) fn is_day(day: u32, month: u32) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

fn pair(numbers: &[u32], at: usize) -> u32 {
    numbers[at] * 10 + numbers[at + 1]
}

/// A US social security number or taxpayer number.
pub(super) fn us(text: &str) -> bool {
    let n = digits(text);
    let (area, group, serial) = (n[0] * 100 + n[1] * 10 + n[2], pair(&n, 3), pair(&n, 5) * 100 + pair(&n, 7));
    let security = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
    let taxpayer = area >= 900 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99);
    security || taxpayer
}

/// A UK national insurance number. `QQ` is what forms show as an example.
pub(super) fn gb_nino(text: &str) -> bool {
    let prefix = text[..2].to_ascii_uppercase();
    let never = |c: u8| matches!(c, b'D' | b'F' | b'I' | b'U' | b'V');
    let bytes = prefix.as_bytes();
    let given = !never(bytes[0]) && !never(bytes[1]) && bytes[0] != b'Q' && !matches!(bytes[1], b'O' | b'Q');
    prefix == "QQ" || (given && !["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"].contains(&prefix.as_str()))
}

/// A UK health service number: weights 10 to 2, mod 11.
pub(super) fn gb_nhs(text: &str) -> bool {
    let n = digits(text);
    let check = 11 - weighted(&n[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    check % 11 == n[9] && check != 10
}

/// A German tax number of a person: ISO 7064, mod 11-10; one digit of the first ten stands there twice or three times.
pub(super) fn de_tax(text: &str) -> bool {
    let n = digits(text);
    let mut counts = [0; 10];
    n[..10].iter().for_each(|digit| counts[*digit as usize] += 1);
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let product = n[..10].iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        2 * (if sum == 0 { 10 } else { sum }) % 11
    });
    n[0] != 0 && repeated == 1 && counts.iter().all(|count| *count < 4) && (11 - product) % 10 == n[10]
}

/// A German pension insurance number.
pub(super) fn de_pension(text: &str) -> bool {
    let compact: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let letter = u32::from(compact.as_bytes()[8].to_ascii_uppercase() - b'A') + 1;
    let mut n = digits(&compact[..8]);
    n.extend([letter / 10, letter % 10]);
    n.extend(digits(&compact[9..]));
    let sum: u32 = n[..12]
        .iter()
        .zip([2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1])
        .map(|(digit, weight)| digit * weight / 10 + digit * weight % 10)
        .sum();
    sum % 10 == n[12] && is_day((pair(&n, 2) - 1) % 50 + 1, pair(&n, 4))
}

/// A French social security number with its key, mod 97; departments 2A and 2B count as 19 and 18.
pub(super) fn fr_nir(text: &str) -> bool {
    let compact: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let numbers = digits(&compact.replace("2A", "19").replace("2B", "18"));
    if numbers.len() != 15 {
        return false;
    }
    let month = pair(&numbers, 3);
    let rest = numbers[..13].iter().fold(0u64, |all, digit| all * 10 + u64::from(*digit)) % 97;
    (matches!(month, 1..=12 | 20..=42) || month >= 50) && 97 - rest == u64::from(pair(&numbers, 13))
}

/// A Spanish identity number, of citizens or (X, Y, Z in front) foreigners: a letter by mod 23.
pub(super) fn es(text: &str) -> bool {
    let compact: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let (body, letter) = compact.split_at(compact.len() - 1);
    let number: String = body
        .chars()
        .map(|c| match c {
            'X' => '0',
            'Y' => '1',
            'Z' => '2',
            c => c,
        })
        .collect();
    let number = number.parse::<usize>().unwrap_or(0);
    "TRWAGMYFPDXBNJZSQVHLCKE".get(number % 23..=number % 23) == Some(letter)
}

/// An Italian tax code: a letter by sums which differ for odd and even places.
pub(super) fn it(text: &str) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let upper = text.to_ascii_uppercase();
    let value = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
    let bytes = upper.as_bytes();
    let sum: u32 = bytes[..15]
        .iter()
        .enumerate()
        .map(|(at, byte)| if at % 2 == 0 { ODD[value(*byte) as usize] } else { value(*byte) })
        .sum();
    u32::from(bytes[15] - b'A') == sum % 26
}

/// A Dutch citizen service number: the eleven-test.
pub(super) fn nl(text: &str) -> bool {
    let n = digits(text);
    let sum = weighted(&n[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
    n.iter().any(|digit| *digit != 0) && sum % 11 == n[8]
}

/// A Belgian register number: 97 less the rest, with a 2 in front for those born since 2000.
pub(super) fn be(text: &str) -> bool {
    let n = digits(text);
    let body = n[..9].iter().fold(0u64, |all, digit| all * 10 + u64::from(*digit));
    let check = u64::from(pair(&n, 9));
    let born = is_day(pair(&n, 4).max(1), (pair(&n, 2) % 20).max(1));
    born && (97 - body % 97 == check || 97 - (2_000_000_000 + body) % 97 == check)
}

/// A Polish PESEL: the century is in the month.
pub(super) fn pl(text: &str) -> bool {
    let n = digits(text);
    let sum = weighted(&n[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    is_day(pair(&n, 4), pair(&n, 2) % 20) && (10 - sum % 10) % 10 == n[10]
}

/// A Swedish personal number: Luhn over its ten digits; coordination numbers add 60 to the day.
pub(super) fn se(text: &str) -> bool {
    let n = digits(text);
    let n = &n[n.len() - 10..];
    let day = pair(n, 4);
    is_day(if day > 60 { day - 60 } else { day }, pair(n, 2)) && luhn(n)
}

/// A Finnish personal identity code: a sign by mod 31.
pub(super) fn fi(text: &str) -> bool {
    let n = digits(&text[..10]);
    let rest = n[..9].iter().fold(0, |all, digit| all * 10 + digit) % 31;
    let sign = text[10..].to_ascii_uppercase();
    let at = rest as usize;
    is_day(pair(&n, 0), pair(&n, 2)) && "0123456789ABCDEFHJKLMNPRSTUVWXY".get(at..=at) == Some(&*sign)
}

/// A Norwegian identity number: two digits by mod 11.
pub(super) fn no(text: &str) -> bool {
    let n = digits(text);
    let check = |count: usize, weights: &[u32]| (11 - weighted(&n[..count], weights) % 11) % 11;
    let day = pair(&n, 0);
    is_day(if day > 40 { day - 40 } else { day }, pair(&n, 2) % 40)
        && check(9, &[3, 7, 6, 1, 8, 9, 4, 5, 2]) == n[9]
        && check(10, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) == n[10]
}

/// A Danish CPR number: a date alone, for those of 2007 and later have no check digit.
pub(super) fn dk(text: &str) -> bool {
    let n = digits(text);
    is_day(pair(&n, 0), pair(&n, 2))
}

/// A Swiss insurance number: as on articles (EAN-13), with the country's 756 in front.
pub(super) fn ch(text: &str) -> bool {
    let n = digits(text);
    weighted(&n, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

/// An Austrian insurance number: its fourth digit checks.
pub(super) fn at(text: &str) -> bool {
    let n = digits(text);
    let sum = weighted(&n, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]);
    n[0] != 0 && sum % 11 == n[3] && is_day(pair(&n, 4), (pair(&n, 6) - 1) % 20 + 1)
}

/// A Portuguese tax number: weights 9 to 2, mod 11.
pub(super) fn pt(text: &str) -> bool {
    let n = digits(text);
    let check = 11 - weighted(&n[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    n[8] == if check > 9 { 0 } else { check }
}

/// A Brazilian taxpayer number: two digits by mod 11; all digits equal is nobody's.
pub(super) fn br(text: &str) -> bool {
    let n = digits(text);
    let check = |count: usize| {
        let sum: u32 = (2..).zip(n[..count].iter().rev()).map(|(weight, digit): (u32, &u32)| weight * digit).sum();
        (11 - sum % 11) % 11 % 10
    };
    n.iter().any(|digit| *digit != n[0]) && check(9) == n[9] && check(10) == n[10]
}

/// An Indian Aadhaar number (Verhoeff 1969).
pub(super) fn aadhaar(text: &str) -> bool {
    const PERMUTED: [[u32; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    // The symmetries of a pentagon: turns 0 to 4, reflections 5 to 9.
    let then = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a + 5 - 5 - b) % 5,
        (false, false) => (5 + a - b) % 5,
    };
    let n = digits(text);
    let turned = n.iter().rev().enumerate().fold(0, |c, (at, digit)| then(c, PERMUTED[at % 8][*digit as usize]));
    n[0] > 1 && turned == 0
}

/// A Canadian insurance number: Luhn.
pub(super) fn ca(text: &str) -> bool {
    luhn(&digits(text))
}

/// An Australian tax file number: weights, mod 11.
pub(super) fn au(text: &str) -> bool {
    let n = digits(text);
    n.iter().any(|digit| *digit != 0) && weighted(&n, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
}

/// A South African identity number: a date and Luhn.
pub(super) fn za(text: &str) -> bool {
    let n = digits(text);
    is_day(pair(&n, 4), pair(&n, 2)) && n[10] < 3 && luhn(&n)
}

/// A Chinese resident identity number (ISO 7064, mod 11-2; X for 10).
pub(super) fn cn(text: &str) -> bool {
    let n = digits(&text[..17]);
    let at = weighted(&n, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]) as usize % 11;
    is_day(pair(&n, 12), pair(&n, 10)) && "10X98765432".get(at..=at) == Some(&*text[17..].to_ascii_uppercase())
}

/// A South Korean registration number: weights, mod 11. Those given since October 2020 have random digits instead; then a date
/// and a digit for sex and century have to do.
pub(super) fn kr(text: &str) -> bool {
    let n = digits(text);
    let sum = weighted(&n[..12], &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    is_day(pair(&n, 4), pair(&n, 2)) && ((11 - sum % 11) % 10 == n[12] || (1..=8).contains(&n[6]))
}

/// A Turkish identity number: two check digits.
pub(super) fn tr(text: &str) -> bool {
    let n = digits(text);
    let (odd, even) = (n[0] + n[2] + n[4] + n[6] + n[8], n[1] + n[3] + n[5] + n[7]);
    n[0] != 0 && (odd * 7 + 100 - even) % 10 == n[9] && n[..10].iter().sum::<u32>() % 10 == n[10]
}

/// A Singaporean identity number: a letter by mod 11.
pub(super) fn sg(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let n = digits(&upper);
    let first = upper.as_bytes()[0];
    let offset = match first {
        b'T' | b'G' => 4,
        b'M' => 3,
        _ => 0,
    };
    let at = (weighted(&n, &[2, 7, 6, 5, 4, 3, 2]) + offset) as usize % 11;
    let (letters, at) = match first {
        b'S' | b'T' => ("JZIHGFEDCBA", at),
        b'M' => ("KLJNPQRTUWX", 10 - at),
        _ => ("XWUTRQPNMLK", at),
    };
    letters.get(at..=at) == Some(&upper[8..])
}

/// A Chilean tax number: mod 11 with weights 2 to 7; K for 10.
pub(super) fn cl(text: &str) -> bool {
    let compact: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let (body, check) = compact.split_at(compact.len() - 1);
    let sum: u32 =
        digits(body).iter().rev().zip([2, 3, 4, 5, 6, 7].iter().cycle()).map(|(digit, weight)| digit * weight).sum();
    let at = (11 - sum % 11) as usize % 11;
    "0123456789K".get(at..=at) == Some(check)
}

/// A Mexican registry code: base 37 weights, mod 10, as far as its date goes right.
pub(super) fn mx(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let value = |byte: u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        // Ñ stands between N and O in this alphabet.
        b'A'..=b'N' => u32::from(byte - b'A') + 10,
        _ => u32::from(byte - b'A') + 11,
    };
    let bytes = upper.as_bytes();
    let sum: u32 = bytes[..17].iter().enumerate().map(|(at, byte)| value(*byte) * (18 - at as u32)).sum();
    let n = digits(&upper[4..10]);
    is_day(pair(&n, 4), pair(&n, 2)) && (10 - sum % 10) % 10 == u32::from(bytes[17].wrapping_sub(b'0'))
}

/// Nothing checks but the form.
pub(super) fn form(_: &str) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(valid: fn(&str) -> bool, right: &str) {
        assert!(valid(right), "{right}");
        // Any single wrong digit at the end is found.
        let (body, last) = right.split_at(right.len() - 1);
        let digit = last.chars().next().unwrap();
        let wrong = match digit {
            '0'..='8' => char::from(digit as u8 + 1),
            '9' => '0',
            'A' => 'B',
            _ => 'A',
        };
        assert!(!valid(&format!("{body}{wrong}")), "{body}{wrong}");
    }

    #[test]
    fn published_numbers_are_right_and_their_neighbours_are_not() {
        check(gb_nhs, "943 476 5919");
        check(de_tax, "86095742719");
        check(de_pension, "15070649C103");
        check(fr_nir, "1 85 05 78 006 084 91");
        check(es, "12345678Z");
        check(es, "X1234567L");
        check(it, "RSSMRA85T10A562S");
        check(nl, "111222333");
        check(be, "85.07.30-033.28");
        check(pl, "44051401359");
        check(se, "811218-9876");
        check(fi, "131052-308T");
        check(ch, "756.9217.0769.85");
        check(at, "1237 010180");
        check(pt, "123456789");
        check(br, "390.533.447-05");
        check(aadhaar, "2341 2341 2346");
        check(ca, "046-454-286");
        check(au, "123 456 782");
        check(za, "8001015009087");
        check(cn, "11010519491231002X");
        check(tr, "10000000146");
        check(sg, "S1234567D");
        check(cl, "12.345.678-5");
        check(mx, "HEGG560427MVZRRL04");
        check(|text| luhn(&digits(text)), "4242424242424242");
    }
}
