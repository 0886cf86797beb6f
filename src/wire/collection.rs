//! Collections and their settings.

use ibid_core::{CollectionName, CollectionSettings, Language, ModelId, Trust};
use ibid_engine::{CollectionInfo, Invalid};

use super::{text, time, value};
use crate::proto as pb;

const CHUNK_TOKENS: std::ops::RangeInclusive<u32> = 32..=2_048;

pub(crate) fn name(field: &str, given: &str) -> Result<CollectionName, Invalid> {
    text::name(field, given, CollectionName::new)
}

/// The settings with every default filled in; `model` is the one where none is named.
pub(crate) fn settings(given: Option<pb::CollectionSettings>, model: &ModelId) -> Result<CollectionSettings, Invalid> {
    let given = given.unwrap_or_default();
    let embedder = match given.model.as_str() {
        "" => model.clone(),
        named => text::name("settings.model", named, ModelId::new)?,
    };
    let chunk_tokens = match given.chunk_tokens {
        0 => 0,
        tokens if CHUNK_TOKENS.contains(&tokens) => tokens,
        tokens => {
            let problem = format!("is {tokens}, expected {} to {}, or 0", CHUNK_TOKENS.start(), CHUNK_TOKENS.end());
            return Err(Invalid::new("settings.chunk_tokens", problem));
        }
    };
    let overlap = given.chunk_overlap_tokens;
    if overlap > 0 && (chunk_tokens == 0 || overlap > chunk_tokens / 2) {
        let most = chunk_tokens / 2;
        let problem = format!("is {overlap}, expected at most half of settings.chunk_tokens ({most})");
        return Err(Invalid::new("settings.chunk_overlap_tokens", problem));
    }
    Ok(CollectionSettings {
        embedder,
        language: language(given.language)?,
        stemming: given.stemming.unwrap_or(true),
        stop_words: given.stop_words.unwrap_or(false),
        chunk_tokens,
        chunk_overlap_tokens: overlap,
        chunk_context: given.chunk_context.unwrap_or(true),
        metadata_schema: value::schema("settings.metadata_schema", given.metadata_schema)?,
        trust: trust(given.trust)?,
    })
}

fn language(number: i32) -> Result<Language, Invalid> {
    Ok(match text::known("settings.language", number)? {
        pb::Language::Unspecified | pb::Language::English => Language::English,
        pb::Language::None => Language::None,
        pb::Language::German => Language::German,
        pb::Language::French => Language::French,
        pb::Language::Spanish => Language::Spanish,
    })
}

fn trust(number: i32) -> Result<Trust, Invalid> {
    Ok(match text::known("settings.trust", number)? {
        pb::Trust::Unspecified | pb::Trust::Trusted => Trust::Trusted,
        pb::Trust::UserSupplied => Trust::UserSupplied,
        pb::Trust::Web => Trust::Web,
    })
}

pub(crate) fn render(info: CollectionInfo) -> pb::Collection {
    pb::Collection {
        name: info.name.to_string(),
        settings: Some(render_settings(info.settings)),
        created_at: Some(time::render_ours(info.created_ms)),
        generation: info.generation.0,
        documents: info.documents,
    }
}

fn render_settings(settings: CollectionSettings) -> pb::CollectionSettings {
    let language = match settings.language {
        Language::English => pb::Language::English,
        Language::German => pb::Language::German,
        Language::French => pb::Language::French,
        Language::Spanish => pb::Language::Spanish,
        Language::None => pb::Language::None,
    };
    let trust = match settings.trust {
        Trust::Trusted => pb::Trust::Trusted,
        Trust::UserSupplied => pb::Trust::UserSupplied,
        Trust::Web => pb::Trust::Web,
    };
    pb::CollectionSettings {
        model: settings.embedder.to_string(),
        language: language.into(),
        stemming: Some(settings.stemming),
        stop_words: Some(settings.stop_words),
        chunk_tokens: settings.chunk_tokens,
        chunk_overlap_tokens: settings.chunk_overlap_tokens,
        chunk_context: Some(settings.chunk_context),
        metadata_schema: value::render_schema(settings.metadata_schema),
        trust: trust.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelId {
        ModelId::new("house/model").unwrap()
    }

    #[track_caller]
    fn check(change: impl Fn(&mut pb::CollectionSettings), expected: &str) {
        let mut given = pb::CollectionSettings::default();
        change(&mut given);
        assert_eq!(settings(Some(given), &model()).unwrap_err().field, expected);
    }

    #[test]
    fn every_refused_field_is_named() {
        check(|settings| settings.model = "a b".to_owned(), "settings.model");
        check(|settings| settings.language = 99, "settings.language");
        check(|settings| settings.chunk_tokens = 31, "settings.chunk_tokens");
        check(|settings| settings.chunk_tokens = 2_049, "settings.chunk_tokens");
        check(|settings| settings.chunk_overlap_tokens = 1, "settings.chunk_overlap_tokens");
        let overlapping = |settings: &mut pb::CollectionSettings| {
            (settings.chunk_tokens, settings.chunk_overlap_tokens) = (100, 51);
        };
        check(overlapping, "settings.chunk_overlap_tokens");
        check(|settings| settings.metadata_schema = [("a".to_owned(), 0)].into(), "settings.metadata_schema[a]");
        check(|settings| settings.trust = 99, "settings.trust");
    }

    #[test]
    fn settings_with_their_defaults_survive_the_way_out_and_back() {
        let filled = settings(None, &model()).unwrap();
        assert_eq!((filled.stemming, filled.chunk_tokens, filled.language), (true, 0, Language::English));
        assert_eq!(settings(Some(render_settings(filled.clone())), &model()), Ok(filled));
    }
}
