//! Keys, tokens and passwords: by the prefixes that their issuers gave them so that they are found, by the name in front of
//! them, and by how random they look.

use std::sync::LazyLock;

use regex::Regex;

use super::view::View;
use super::{Finding, Kind};

/// Each alternative is a prefix and a run of letters, so that a match ends where its letters do.
static PREFIXED: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        // model providers
        r"sk-(?:ant-|proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,}",
        r"(?:hf|r8|gsk|xai|nvapi|pplx|tgp_v1)[_-][A-Za-z0-9_-]{20,}",
        // source and packages
        r"gh[pousr]_[A-Za-z0-9]{30,}",
        r"github_pat_[A-Za-z0-9_]{40,}",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,}",
        r"npm_[A-Za-z0-9]{30,}",
        r"pypi-[A-Za-z0-9_-]{50,}",
        r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}",
        // clouds
        r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",
        r"AIza[A-Za-z0-9_-]{35}",
        r"ya29\.[A-Za-z0-9_-]{30,}",
        r"GOCSPX-[A-Za-z0-9_-]{20,}",
        r"do[por]_v1_[a-f0-9]{64}",
        r"dapi[a-f0-9]{32}",
        r"hv[sbr]\.[A-Za-z0-9_-]{24,}",
        r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
        // money and shops
        r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",
        r"whsec_[A-Za-z0-9+/=]{24,}",
        r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
        r"sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{22,}",
        // messages and mail
        r"xox[abeoprs]-[A-Za-z0-9-]{20,}",
        r"xapp-[0-9]-[A-Za-z0-9-]{20,}",
        r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,}",
        r"key-[a-f0-9]{32}",
        r"[0-9]{8,10}:AA[A-Za-z0-9_-]{32,34}",
        r"ATATT3[A-Za-z0-9_=-]{50,}",
        // ours
        r"ibid_[a-f0-9]{16}_[a-f0-9]{64}",
    ];
    Regex::new(&format!(r"(?-u:\b)(?:{})", forms.join("|"))).expect("a valid expression")
});
/// A JSON Web Token (RFC 7519): both of its first parts are objects.
static JWT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{10,}").expect("a valid expression")
});
/// A name that says what its value is, and the value.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)(?:(passw(?:or)?d|passwd|pwd|passphrase|passwort|kennwort|mot de passe|contraseña)",
        r"|api[_-]?key|secret|token|authorization|access[_-]?key|private[_-]?key|credentials?)",
        r#"(?:[_-][a-z0-9_-]{0,20}|s)?["'`]?\s{0,3}(:=|=>|[:=])\s{0,3}(?:(?:bearer|basic|token)\s)?"#,
        r#"["'`]?([^\s"'`,;<>()\[\]{}|]{6,512})"#,
    ))
    .expect("a valid expression")
});
/// `Bearer` and what follows it.
static BEARER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i-u:\bbearer )([A-Za-z0-9._~+/=-]{16,})").expect("a valid expression"));
/// The password in an address.
static LOGIN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i-u:\b[a-z][a-z0-9+.-]{1,20})://[^\s:/@]{0,64}:([^\s/@]{3,256})@").expect("a valid expression")
});
/// A word that might be random.
static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[A-Za-z0-9_+/=-]{20,}").expect("a valid expression"));
static ARMOUR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----").expect("a valid expression"));
/// How far the end of an armoured key is looked for: an RSA key of 16,384 bits has 13 KB.
const ARMOUR_BYTES_MAX: usize = 16 * 1024;
/// Words close in front of a random word that make it a key.
const CUES: [&str; 9] = ["key", "token", "secret", "password", "passwort", "credential", "schlüssel", "api", "login"];
/// Bits a character from which a word counts as random: hexadecimal digits have at most 4, letters of both cases and digits 5.95.
const RANDOM_BITS: f64 = 3.5;

pub(super) fn find(view: &View<'_>, found: &mut Vec<Finding>) {
    let text = view.text;
    let mut push = |start: usize, end: usize| found.push(Finding { kind: Kind::Secret, span: start..end });
    for begin in ARMOUR.find_iter(text) {
        let reach = (begin.end()..text.len().min(begin.start() + ARMOUR_BYTES_MAX)).rev();
        let reach = reach.into_iter().find(|end| text.is_char_boundary(*end)).unwrap_or(begin.end());
        let body = &text[begin.end()..reach];
        // Cut off, it is still a key: up to the first line that is none of it.
        let length = body.find("-----END").map(|at| at + body[at..].find("KEY").map_or(8, |key| key + 3));
        let end = match length {
            Some(length) => begin.end() + length,
            None => {
                begin.end()
                    + body
                        .find(|c: char| !(c.is_ascii_alphanumeric() || "+/=\r\n:, -\\".contains(c)))
                        .unwrap_or(body.len())
            }
        };
        let dashes = text[end..].bytes().take_while(|byte| *byte == b'-').count().min(5);
        push(begin.start(), end + dashes);
    }
    for matched in PREFIXED.find_iter(text) {
        if matched.as_str().bytes().any(|byte| byte.is_ascii_digit()) || bits(matched.as_str()) > RANDOM_BITS {
            push(matched.start(), matched.end());
        }
    }
    for matched in JWT.find_iter(text) {
        push(matched.start(), matched.end());
    }
    for captures in LOGIN.captures_iter(text) {
        let password = captures.get(1).expect("the group takes part in every match");
        push(password.start(), password.end());
    }
    for captures in BEARER.captures_iter(text) {
        let token = captures.get(1).expect("the group takes part in every match");
        if is_random(token.as_str(), 3.0) {
            push(token.start(), token.end());
        }
    }
    for captures in NAMED.captures_iter(text) {
        let value = captures.get(3).expect("the group takes part in every match");
        let written = value.as_str().trim_end_matches(['.', '&', '\\', '?']);
        // `token=...&page=2`, as in an address; a password may have the sign itself.
        let written =
            written.split_once('&').filter(|(_, next)| next.contains('=')).map_or(written, |(value, _)| value);
        let name = captures.get(0).map_or("", |all| &all.as_str()[..value.start() - all.start()]);
        let is_password = captures.get(1).is_some();
        // `PASSWORD=word`, as in an environment file
        let assigned = captures.get(2).is_some_and(|sign| sign.as_str() == "=") && !name.contains(' ');
        let loud = assigned && name.bytes().all(|byte| !byte.is_ascii_lowercase());
        let secret = if is_password { is_password_like(written, loud) } else { is_key_like(written) };
        if secret && !is_stand_in(written) {
            push(value.start(), value.start() + written.len());
        }
    }
    for matched in WORD.find_iter(text) {
        if view.has_cue_within(matched.start(), 24, &CUES) && is_random(matched.as_str(), RANDOM_BITS) {
            push(matched.start(), matched.end());
        }
    }
}

/// Letters with digits or signs, or any word where an environment file gives it.
fn is_password_like(value: &str, loud: bool) -> bool {
    let letters = value.chars().any(char::is_alphabetic);
    let others = value.chars().any(|c| c.is_ascii_digit() || "!#$%&*@^~?+§".contains(c));
    (letters && others) || loud
}

fn is_key_like(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    value.len() >= 12 && digits > 1 && letters > 1 && bits(value) >= 3.0
}

/// What documentation writes in place of a secret, or where programs fetch it from.
fn is_stand_in(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let words = [
        "your",
        "example",
        "changeme",
        "placeholder",
        "redacted",
        "xxxx",
        "****",
        "....",
        "environ",
        "process.env",
        "getenv",
        "secrets.",
    ];
    value.starts_with('$') && !value.starts_with("$2") && !value.starts_with("$argon")
        || value.starts_with('%') && value.ends_with('%')
        || words.iter().any(|word| lower.contains(word))
}

/// Letters of both cases, or letters and digits, and enough bits a character.
fn is_random(value: &str, bits_min: f64) -> bool {
    let has = |class: fn(&u8) -> bool| value.as_bytes().iter().any(class);
    let classes = [has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase), has(u8::is_ascii_digit)];
    classes[2] && classes.iter().filter(|there| **there).count() >= 2 && bits(value) >= bits_min && !is_stand_in(value)
}

/// Shannon's entropy of the characters, in bits a character.
fn bits(value: &str) -> f64 {
    let mut counts = [0u32; 256];
    value.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let total = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let mut found = Vec::new();
        find(&View::new(text), &mut found);
        let mut values: Vec<&str> = found.iter().map(|finding| &text[finding.span.clone()]).collect();
        values.dedup();
        assert_eq!(values, expected, "{text}");
    }

    #[test]
    fn an_armoured_key_is_taken_whole_and_also_when_it_is_cut_off() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\nIE==\n-----END EC PRIVATE KEY-----";
        check(&format!("see\n{key}\nend"), &[key]);
        check("-----BEGIN PRIVATE KEY-----\nMHcCAQEE\n(cut)", &["-----BEGIN PRIVATE KEY-----\nMHcCAQEE\n"]);
        check("-----BEGIN PUBLIC KEY-----\nMHcCAQEE\n-----END PUBLIC KEY-----", &[]);
    }

    #[test]
    fn code_that_fetches_a_secret_shows_none() {
        for code in [
            "token = os.environ[\"T\"]",
            "password=$DB_PASSWORD",
            "secret: %SECRET%",
            "api_key=process.env.API_KEY_2",
            "pwd = getpass()",
        ] {
            check(code, &[]);
        }
        check("password = \"blau7wal\"", &["blau7wal"]);
        check("PASSWORD=swordfish", &["swordfish"]);
    }
}
