//! Questions: what to search, where and how.

use std::collections::BTreeSet;
use std::time::Duration;

use ibid_core::{CollectionName, Floor, Generation};
use ibid_engine::{Expand, Invalid};
use ibid_retrieve::{Duplicates, Fusion, Mode, Query, Rerank};

use super::{collection, filter, text};
use crate::config;
use crate::proto as pb;

const QUESTION_BYTES_MAX: usize = 8_192;
const VECTOR_DIMENSIONS_MAX: usize = 16_384;
const COLLECTIONS_MAX: usize = 16;
const CANDIDATES_DEFAULT: usize = 50;

/// What holds where the request says nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults<'a> {
    pub(crate) top_k: usize,
    pub(crate) rerank: &'a config::Rerank,
}

/// What to search: the collections named, or all of the tenant if there are none; and how.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) collections: BTreeSet<CollectionName>,
    pub(crate) query: Query,
}

pub(crate) fn search(request: pb::SearchRequest, defaults: Defaults<'_>) -> Result<Search, Invalid> {
    let question = question(request.question)?;
    text::no_more_than("query_vector", request.query_vector.len(), VECTOR_DIMENSIONS_MAX)?;
    if request.query_vector.iter().any(|component| !component.is_finite()) {
        return Err(Invalid::new("query_vector", "has components that are no finite numbers"));
    }
    let vector = Some(request.query_vector).filter(|vector| !vector.is_empty());
    let mut search = settings("settings", request.settings, question, vector, defaults)?;
    search.query.generation = generation(request.generation);
    Ok(search)
}

/// The generation that is searched; `None`: the present one.
pub(crate) fn generation(given: u64) -> Option<Generation> {
    (given > 0).then_some(Generation(given))
}

/// A question's text.
pub(crate) fn question(bytes: bytes::Bytes) -> Result<String, Invalid> {
    text::at_most("question", bytes.len(), QUESTION_BYTES_MAX)?;
    text::utf8("question", bytes)
}

/// The settings, which stand in the field `field`, with a question.
pub(crate) fn settings(
    field: &str,
    given: Option<pb::SearchSettings>,
    question: String,
    vector: Option<Vec<f32>>,
    defaults: Defaults<'_>,
) -> Result<Search, Invalid> {
    let given = given.unwrap_or_default();
    let top_k = given.top_k.map_or(defaults.top_k, |top_k| top_k as usize);
    let candidates = match given.candidates as usize {
        0 => CANDIDATES_DEFAULT.max(top_k),
        candidates => candidates,
    };
    let filter = given.filter.map(|given| filter::filter(&format!("{field}.filter"), given));
    let query = Query {
        question,
        vector,
        mode: mode(&format!("{field}.mode"), given.mode)?,
        top_k,
        neighbour_weight: given.neighbour_weight.unwrap_or(Query::NEIGHBOUR_WEIGHT),
        candidates,
        fusion: given.fusion.map_or_else(Fusion::default, fusion),
        rerank: rerank(given.rerank, defaults.rerank),
        filter: filter.transpose()?,
        floor: Floor {
            relevance: floor(&format!("{field}.relevance_floor"), given.relevance_floor)?,
            rerank_logit: floor(&format!("{field}.rerank_logit_floor"), given.rerank_logit_floor)?,
            cosine: floor(&format!("{field}.cosine_floor"), given.cosine_floor)?,
        },
        generation: None,
        expand: expand(&format!("{field}.expand"), given.expand)?,
        duplicates: duplicates(&format!("{field}.duplicates"), given.duplicates)?,
    };
    // The query knows its fields by the names of a SearchRequest.
    query.validate().map_err(|invalid| match invalid.field.strip_prefix("settings.") {
        Some(inner) => Invalid::new(format!("{field}.{inner}"), invalid.problem),
        None => invalid,
    })?;
    Ok(Search { collections: collections(&format!("{field}.collections"), &given.collections)?, query })
}

fn collections(field: &str, names: &[String]) -> Result<BTreeSet<CollectionName>, Invalid> {
    text::no_more_than(field, names.len(), COLLECTIONS_MAX)?;
    let name = |(ordinal, name): (usize, &String)| collection::name(&format!("{field}[{ordinal}]"), name);
    names.iter().enumerate().map(name).collect()
}

fn mode(field: &str, number: i32) -> Result<Mode, Invalid> {
    Ok(match text::known(field, number)? {
        pb::SearchMode::Unspecified | pb::SearchMode::Hybrid => Mode::Hybrid,
        pb::SearchMode::Lexical => Mode::Lexical,
        pb::SearchMode::Vector => Mode::Vector,
    })
}

fn expand(field: &str, number: i32) -> Result<Expand, Invalid> {
    Ok(match text::known(field, number)? {
        pb::Expand::Unspecified | pb::Expand::None => Expand::None,
        pb::Expand::Neighbours => Expand::Neighbours,
        pb::Expand::Section => Expand::Section,
    })
}

fn duplicates(field: &str, number: i32) -> Result<Duplicates, Invalid> {
    Ok(match text::known(field, number)? {
        pb::Duplicates::Unspecified | pb::Duplicates::Collapse => Duplicates::Collapse,
        pb::Duplicates::Keep => Duplicates::Keep,
    })
}

fn fusion(given: pb::Fusion) -> Fusion {
    let default = Fusion::default();
    Fusion {
        k: given.k.unwrap_or(default.k),
        lexical_weight: given.lexical_weight.unwrap_or(default.lexical_weight),
        vector_weight: given.vector_weight.unwrap_or(default.vector_weight),
    }
}

fn floor(field: &str, given: Option<f32>) -> Result<Option<f32>, Invalid> {
    if given.is_some_and(f32::is_nan) {
        return Err(Invalid::new(field, "is NaN, expected a number"));
    }
    Ok(given)
}

fn rerank(given: Option<pb::Rerank>, default: &config::Rerank) -> Rerank {
    let depth = given.map_or(default.depth, |given| given.depth as usize);
    if depth == 0 {
        return Rerank::Off;
    }
    let given = given.unwrap_or_default();
    let budget = match given.budget_ms {
        None => default.budget,
        Some(0) => None,
        Some(ms) => Some(Duration::from_millis(ms.into())),
    };
    Rerank::Top { depth, weight: given.weight.unwrap_or(Rerank::WEIGHT), budget }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Option<Duration> = Some(Duration::from_millis(100));
    const DEFAULTS: Defaults<'_> = Defaults { top_k: 10, rerank: &config::Rerank { depth: 50, budget: BUDGET } };

    fn parse(change: impl Fn(&mut pb::SearchRequest, &mut pb::SearchSettings)) -> Result<Search, Invalid> {
        let mut request = pb::SearchRequest { question: "why?".into(), ..Default::default() };
        let mut settings = pb::SearchSettings::default();
        change(&mut request, &mut settings);
        search(pb::SearchRequest { settings: Some(settings), ..request }, DEFAULTS)
    }

    #[track_caller]
    fn check(change: impl Fn(&mut pb::SearchRequest, &mut pb::SearchSettings), expected: &str) {
        assert_eq!(parse(change).unwrap_err().field, expected);
    }

    #[test]
    fn every_refused_field_is_named() {
        check(|request, _| request.question = bytes::Bytes::from_static(b"a\xff"), "question");
        check(|request, _| request.question = vec![b'a'; 8_193].into(), "question");
        check(|request, _| request.question.clear(), "question");
        check(|request, _| request.query_vector = vec![f32::NAN], "query_vector");
        check(|request, _| request.query_vector = vec![1.0; 16_385], "query_vector");
        check(|_, settings| settings.collections = vec!["a".to_owned(), String::new()], "settings.collections[1]");
        check(|_, settings| settings.collections = vec!["a".to_owned(); 17], "settings.collections");
        check(|_, settings| settings.mode = 99, "settings.mode");
        check(|_, settings| settings.expand = 99, "settings.expand");
        check(|_, settings| settings.duplicates = 99, "settings.duplicates");
        check(|_, settings| settings.top_k = Some(0), "settings.top_k");
        check(|_, settings| settings.top_k = Some(1_001), "settings.top_k");
        check(|_, settings| settings.candidates = 1_001, "settings.candidates");
        let fusion = |k| Some(pb::Fusion { k: Some(k), lexical_weight: None, vector_weight: None });
        check(|_, settings| settings.fusion = fusion(0.0), "settings.fusion.k");
        let rerank = |depth, weight| Some(pb::Rerank { depth, weight: Some(weight), budget_ms: None });
        check(|_, settings| settings.rerank = rerank(201, 0.5), "settings.rerank.depth");
        check(|_, settings| settings.rerank = rerank(1, 1.5), "settings.rerank.weight");
        check(|_, settings| settings.filter = Some(pb::Filter::default()), "settings.filter");
        check(|_, settings| settings.cosine_floor = Some(f32::NAN), "settings.cosine_floor");
        check(|_, settings| settings.relevance_floor = Some(f32::NAN), "settings.relevance_floor");
    }

    #[test]
    fn what_is_not_set_takes_its_default() {
        let query = parse(|_, _| {}).unwrap().query;
        assert_eq!(
            (query.top_k, query.candidates, query.mode, query.fusion),
            (10, 50, Mode::Hybrid, Fusion::default())
        );
        assert_eq!(query.rerank, Rerank::Top { depth: 50, weight: Rerank::WEIGHT, budget: BUDGET });
        let rerank = |depth, budget_ms| {
            let given = pb::Rerank { depth, weight: None, budget_ms };
            parse(|_, settings| settings.rerank = Some(given)).unwrap().query.rerank
        };
        assert_eq!(rerank(0, None), Rerank::Off);
        assert_eq!(rerank(5, None), Rerank::Top { depth: 5, weight: Rerank::WEIGHT, budget: BUDGET });
        assert_eq!(rerank(5, Some(0)), Rerank::Top { depth: 5, weight: Rerank::WEIGHT, budget: None });
        assert_eq!(parse(|_, settings| settings.top_k = Some(80)).unwrap().query.candidates, 80);
    }

    #[test]
    fn settings_of_an_answer_are_named_as_they_stand_there() {
        let given = pb::SearchSettings { top_k: Some(0), ..Default::default() };
        let refused = settings("search", Some(given), "why?".to_owned(), None, DEFAULTS).unwrap_err();
        assert_eq!(refused.field, "search.top_k");
    }
}
