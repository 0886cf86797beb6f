//! Colour where a person reads, control characters made harmless.

use std::fmt::Display;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// `text` with control characters shown as what they are: a document cannot steer the terminal.
pub(super) fn plain(text: &str) -> String {
    let shown = |found: char| match found {
        '\n' | '\t' => vec![found],
        '\r' => Vec::new(),
        _ if found.is_control() => found.escape_default().collect(),
        _ => vec![found],
    };
    text.chars().flat_map(shown).collect()
}

fn styled(code: &str, text: impl Display) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

pub(super) fn bold(text: impl Display) -> String {
    styled("1", text)
}

pub(super) fn dim(text: impl Display) -> String {
    styled("2", text)
}

pub(super) fn cyan(text: impl Display) -> String {
    styled("36", text)
}

/// `text` on one line, at most `chars_max` characters.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let flat = plain(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    if flat.chars().count() <= chars_max {
        return flat;
    }
    let cut: String = flat.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// A progress bar on standard error; nothing is drawn where nobody looks.
pub(super) fn bar(total: u64, unit: &str) -> ProgressBar {
    let template = format!("{{msg:12}} {{bar:32}} {{pos}}/{{len}} {unit}  {{elapsed}} (left {{eta}})");
    let style = ProgressStyle::with_template(&template).expect("a fixed template");
    ProgressBar::new(total).with_style(style)
}

/// Says what is done now: on one line of standard error, or on a line each where nobody watches.
pub(super) fn teller() -> (ProgressBar, impl Fn(&str)) {
    let style = ProgressStyle::with_template("{spinner} {elapsed}  {msg}").expect("a fixed template");
    let progress = ProgressBar::new_spinner().with_style(style);
    let shown = progress.clone();
    let tell = move |now: &str| {
        if shown.is_hidden() {
            eprintln!("{now}");
        }
        shown.set_message(now.to_owned());
    };
    (progress, tell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\r\nc"), "a\\u{1b}[2Jb\nc");
        assert_eq!(one_line("a  b\n\nc d", 6), "a b c…");
    }
}
