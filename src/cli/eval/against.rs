//! One setting changed: what is measured beside the first measurement, and compared with it.

use std::str::FromStr;

/// What a measurement may do otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Settings {
    /// The length that chunks aim at, in tokens; 0: the server's.
    pub(super) chunk_tokens: u32,
    /// How much the chunks beside a chunk count in its meaning.
    pub(super) neighbour_weight: f32,
    /// Whether title, headings and what is repeated beside a chunk are read with it.
    pub(super) chunk_context: bool,
    /// Windows of so many tokens in place of chunks.
    pub(super) window_tokens: Option<u32>,
}

/// One of them, given as `KEY=VALUE`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    ChunkTokens(u32),
    ChunkContext(bool),
    NeighbourWeight(f32),
    WindowTokens(u32),
}

impl Change {
    pub(super) fn to(self, mut settings: Settings) -> Settings {
        match self {
            Change::ChunkTokens(tokens) => settings.chunk_tokens = tokens,
            Change::ChunkContext(wanted) => settings.chunk_context = wanted,
            Change::NeighbourWeight(weight) => settings.neighbour_weight = weight,
            Change::WindowTokens(tokens) => settings.window_tokens = Some(tokens),
        }
        settings
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(given: &str) -> Result<Change, String> {
        const EXPECTED: &str = "expected chunk_tokens=N, chunk_context=false, neighbour_weight=0..1 or window_tokens=N";
        let (key, value) = given.split_once('=').ok_or(EXPECTED)?;
        let tokens = || value.parse::<u32>().map_err(|error| format!("{key} {error}"));
        match key {
            "chunk_tokens" => Ok(Change::ChunkTokens(tokens()?)),
            "window_tokens" => Ok(Change::WindowTokens(tokens()?.max(1))),
            "chunk_context" => value
                .parse()
                .map(Change::ChunkContext)
                .map_err(|_| format!("{key} is {value:?}, expected true or false")),
            "neighbour_weight" => {
                let weight = value.parse::<f32>().map_err(|error| format!("{key} {error}"))?;
                let fits = (0.0..=1.0).contains(&weight);
                fits.then_some(Change::NeighbourWeight(weight)).ok_or_else(|| format!("{key} is {weight}, {EXPECTED}"))
            }
            _ => Err(format!("{key} is no such setting, {EXPECTED}")),
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::ChunkTokens(tokens) => write!(f, "chunk_tokens={tokens}"),
            Change::ChunkContext(wanted) => write!(f, "chunk_context={wanted}"),
            Change::NeighbourWeight(weight) => write!(f, "neighbour_weight={weight}"),
            Change::WindowTokens(tokens) => write!(f, "window_tokens={tokens}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_as_they_are_written() {
        for given in ["chunk_tokens=2048", "neighbour_weight=0.25", "chunk_context=false", "window_tokens=200"] {
            assert_eq!(given.parse::<Change>().unwrap().to_string(), given);
        }
        for given in [
            "chunk_tokens",
            "chunk_tokens=many",
            "chunk_context=maybe",
            "neighbour_weight=2",
            "neighbour_weight=NaN",
            "other=1",
        ] {
            assert!(given.parse::<Change>().is_err(), "{given}");
        }
    }
}
