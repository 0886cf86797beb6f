//! What states number their people by: the forms, and which of them need a word in front because other numbers look alike.

use std::sync::LazyLock;

use regex::Regex;

use super::check_digits as check;
use super::view::View;
use super::{Finding, Kind};

struct Form {
    expression: Regex,
    /// One of them has to stand shortly before; empty: the form and its check digits are telling enough.
    cues: &'static [&'static str],
    valid: fn(&str) -> bool,
}

/// Expression, cues, check. All repetitions are bounded.
type Row = (&'static str, &'static [&'static str], fn(&str) -> bool);

const US: &[&str] = &["ssn", "social security", "itin", "taxpayer", "tin"];
const NHS: &[&str] = &["nhs", "health service"];
const DE_TAX: &[&str] = &["steuer", "idnr", "identifikationsnummer", "tax id", "tin"];
const NL: &[&str] = &["bsn", "burgerservice", "sofi", "citizen service"];
const DK: &[&str] = &["cpr", "personnummer", "personal number"];
const PT: &[&str] = &["nif", "contribuinte", "fiscal", "tax"];
const BR: &[&str] = &["cpf", "cadastro"];
const IN: &[&str] = &["aadhaar", "aadhar", "uidai", "uid", "आधार"];
const CA: &[&str] = &["sin", "social insurance", "assurance sociale", "nas"];
const AU: &[&str] = &["tfn", "tax file"];
const SE: &[&str] = &["personnummer", "personal number", "pnr", "samordningsnummer"];
const AT: &[&str] = &["sozialversicherung", "svnr", "sv-nr", "sv-nummer", "versicherungsnummer", "vsnr"];
const CL: &[&str] = &["rut", "run"];
const ZA: &[&str] = &["id", "identity", "rsa"];

const ROWS: [Row; 38] = [
    (r"\d{3}-\d{2}-\d{4}", &[], check::us),
    (r"\d{3} ?\d{2} ?\d{4}", US, check::us),
    (r"[A-Za-z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-Da-d]", &[], check::gb_nino),
    (r"\d{3}[ -]?\d{3}[ -]?\d{4}", NHS, check::gb_nhs),
    (r"[1-9]\d \d{3} \d{3} \d{3}", &[], check::de_tax),
    (r"[1-9]\d{10}", DE_TAX, check::de_tax),
    (r"\d{2} ?\d{6} ?[A-Za-z] ?\d{3}", &[], check::de_pension),
    (r"[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AaBb]) ?\d{3} ?\d{3} ?\d{2}", &[], check::fr_nir),
    (r"\d{8}[ -]?[A-Za-z]", &[], check::es),
    (r"\d{2}\.\d{3}\.\d{3}-?[A-Za-z]", &[], check::es),
    (r"[XYZxyz]-?\d{7}-?[A-Za-z]", &[], check::es),
    (r"[A-Za-z]{6}\d{2}[A-EHLMPRSTa-ehlmprst]\d{2}[A-Za-z]\d{3}[A-Za-z]", &[], check::it),
    (r"\d{9}", NL, check::nl),
    (r"\d{3}\.\d{3}\.\d{3}", NL, check::nl),
    (r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", &[], check::be),
    (r"\d{11}", &["rijksregister", "registre national", "national register", "nrn", "insz", "niss"], check::be),
    (r"\d{11}", &[], check::pl),
    (r"(?:19|20)?\d{6}[-+]\d{4}", &[], check::se),
    (r"(?:19|20)?\d{10}", SE, check::se),
    (r"\d{6}[-+A-FU-Ya-fu-y]\d{3}[0-9A-FHJ-NPR-Ya-fhj-npr-y]", &[], check::fi),
    (r"\d{6} ?\d{5}", &[], check::no),
    (r"\d{6}-?\d{4}", DK, check::dk),
    (r"756\.?\d{4}\.?\d{4}\.?\d{2}", &[], check::ch),
    (r"\d{4} \d{6}", &[], check::at),
    (r"\d{10}", AT, check::at),
    (r"[1-35689]\d{8}", PT, check::pt),
    (r"[1-35689]\d{2} \d{3} \d{3}", PT, check::pt),
    (r"\d{3}\.\d{3}\.\d{3}-\d{2}", &[], check::br),
    (r"\d{11}", BR, check::br),
    (r"[2-9]\d{3} ?\d{4} ?\d{4}", IN, check::aadhaar),
    (r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", &[], check::form),
    (r"\d{3}[ -]?\d{3}[ -]?\d{3}", CA, check::ca),
    (r"\d{3} ?\d{3} ?\d{3}", AU, check::au),
    (r"[1-9]\d{16}[0-9Xx]", &[], check::cn),
    (r"\d{6}-\d{7}", &[], check::kr),
    (r"[1-9]\d{10}", &[], check::tr),
    (r"[STFGMstfgm]\d{7}[A-Za-z]", &[], check::sg),
    (r"[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d", &[], check::mx),
];

/// Those whose form alone is too common.
const RARE: [Row; 2] = [(r"\d{1,2}\.?\d{3}\.?\d{3}-[0-9Kk]", CL, check::cl), (r"\d{13}", ZA, check::za)];

static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    let compiled = |(expression, cues, valid): &Row| Form {
        expression: Regex::new(&format!(r"(?-u:\b(?:{expression})\b)")).expect("a valid expression"),
        cues,
        valid: *valid,
    };
    ROWS.iter().chain(&RARE).map(compiled).collect()
});

/// National ids of 27 countries.
pub(super) fn find(view: &View<'_>, found: &mut Vec<Finding>) {
    for form in FORMS.iter() {
        for matched in form.expression.find_iter(view.text) {
            let said = form.cues.is_empty() || view.has_cue(matched.start(), form.cues);
            if said && (form.valid)(matched.as_str()) && view.stands_alone(&matched.range()) {
                found.push(Finding { kind: Kind::NationalId, span: matched.range() });
            }
        }
    }
}
