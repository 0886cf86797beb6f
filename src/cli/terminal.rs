//! Colour and tables where a person reads, control characters made harmless.

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

/// Prints rows under their header, the first column to the left, the others to the right.
pub(super) fn print_table(header: &[&str], rows: &[Vec<String>]) {
    print!("{}", table(header, rows));
}

fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let lines = || std::iter::once(&header).chain(rows);
    let width = |column: usize| lines().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or_default()).collect();
    let mut out = String::new();
    for row in lines() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            if column == 0 {
                line.push_str(cell);
                line.push_str(&padding);
            } else {
                line.push_str("  ");
                line.push_str(&padding);
                line.push_str(cell);
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\r\nc"), "a\\u{1b}[2Jb\nc");
        assert_eq!(one_line("a  b\n\nc d", 6), "a b c…");
    }

    #[test]
    fn a_table_is_aligned() {
        let rows = [vec!["ours".to_owned(), "12.5".to_owned()], vec!["théirs".to_owned(), "7".to_owned()]];
        insta::assert_snapshot!(table(&["engine", "1/s"], &rows), @r"
        engine   1/s
        ours    12.5
        théirs     7
        ");
    }
}
