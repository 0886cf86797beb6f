//! A small model of every family that runs here, against what transformers made of it. `models/golden/make_families.py`
//! wrote the file.

use std::collections::BTreeMap;

use futures::executor::block_on;
use ibid_core::{Calibration, Embed, Passage, Purpose, Rerank, Tokenize};
use ibid_infer::{Candle, Compute, CrossEncoder, Device, Embedder, ModelEntry, ModelKind, Pooling, Tokens};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::{ctx, id, pool};

#[derive(Deserialize)]
struct Golden {
    tokens_max: usize,
    texts: Vec<String>,
    pairs: Vec<(String, String)>,
    tokenizers: BTreeMap<String, Value>,
    families: Vec<Family>,
}

#[derive(Deserialize)]
struct Family {
    family: String,
    config: Value,
    tokenizer: String,
    tensors: Vec<Vec<Value>>,
    #[serde(default)]
    texts: Vec<States>,
    #[serde(default)]
    logits: Vec<f32>,
}

/// What transformers makes of a text: its tokens, and the states of the first, the last, and all in the mean.
#[derive(Deserialize)]
struct States {
    ids: Vec<u32>,
    first: Vec<f32>,
    last: Vec<f32>,
    mean: Vec<f32>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../../models/golden/families.json")).unwrap()
}

impl Golden {
    /// The model's folder, and what is found out about it there.
    fn install(&self, family: &Family) -> (TempDir, ModelEntry) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("config.json", family.config.to_string().as_bytes());
        write("tokenizer.json", self.tokenizers[&family.tokenizer].to_string().as_bytes());
        write("model.safetensors", &weights(&family.tensors));
        let entry = ModelEntry::describe(dir.path(), &id("tiny")).unwrap();
        (dir, ModelEntry { max_tokens: self.tokens_max, ..entry })
    }

    fn embedders(&self) -> impl Iterator<Item = &Family> {
        self.families.iter().filter(|family| family.logits.is_empty())
    }
}

fn weights(tensors: &[Vec<Value>]) -> Vec<u8> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|tensor| {
            let name = tensor[0].as_str().unwrap().to_owned();
            let shape: Vec<usize> = tensor[1..].iter().map(|size| size.as_u64().unwrap() as usize).collect();
            let floats = weight(&name, shape.iter().product());
            (name, shape, floats.iter().flat_map(|float| float.to_le_bytes()).collect())
        })
        .collect();
    let views =
        bytes.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// `weight` of the script.
fn weight(name: &str, len: usize) -> Vec<f32> {
    let seed = name.bytes().fold(2_166_136_261_u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(16_777_619));
    let base = if name.to_lowercase().ends_with("norm.weight") { 1.0 } else { 0.0 };
    let mixed = |n: u32| {
        let mut x = n.wrapping_mul(747_796_405).wrapping_add(seed);
        x = (x ^ x >> 16).wrapping_mul(0x045d_9f3b);
        x = (x ^ x >> 16).wrapping_mul(0x045d_9f3b);
        x ^ x >> 16
    };
    let uniform = |n| f64::from(mixed(n)) / 2_f64.powi(32) - 0.5;
    (0..len as u32).map(|n| (base + uniform(n) * 0.3) as f32).collect()
}

#[track_caller]
fn assert_agree(ours: &[f32], theirs: &[f32], about: &str) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(ours, theirs) / (dot(ours, ours) * dot(theirs, theirs)).sqrt();
    let apart = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(
        ours.len() == theirs.len() && cosine >= 0.999_999 && apart < 2e-5,
        "{about}: cosine {cosine}, {apart} apart"
    );
}

#[test]
fn embedders_give_the_states_of_transformers() {
    let golden = golden();
    assert_eq!(golden.embedders().count(), 4);
    for family in golden.embedders() {
        let (dir, entry) = golden.install(family);
        for pooling in [Pooling::Cls, Pooling::Mean] {
            let kind = ModelKind::Embedder {
                dimension: 32,
                pooling,
                normalize: false,
                query_prefix: String::new(),
                passage_prefix: String::new(),
            };
            let entry = ModelEntry { kind, ..entry.clone() };
            let embedder = Embedder::load(dir.path(), &entry, Compute::default(), &pool(), 64).unwrap();
            let vectors = block_on(embedder.embed(&ctx(), Purpose::Passage, &golden.texts)).unwrap();
            for ((ours, states), text) in vectors.iter().zip(&family.texts).zip(&golden.texts) {
                let theirs = match pooling {
                    Pooling::Cls => &states.first,
                    Pooling::Mean => &states.mean,
                };
                assert_agree(ours, theirs, &format!("{}, {pooling:?}, {text:?}", family.family));
            }
        }
    }
}

#[test]
fn candle_gives_the_states_of_transformers_for_all_of_them() {
    let golden = golden();
    for family in golden.embedders() {
        let (dir, _) = golden.install(family);
        let tokens = |states: &States| Tokens { second: states.ids.len(), ids: states.ids.clone() };
        let texts: Vec<Tokens> = family.texts.iter().map(tokens).collect();
        let all = Candle::open(dir.path(), Device::Cpu).unwrap().encode(&texts).unwrap();
        for (ours, states) in all.iter().zip(&family.texts) {
            assert_eq!(ours.len(), states.ids.len() * 32);
            assert_agree(&ours[..32], &states.first, &family.family);
            assert_agree(&ours[ours.len() - 32..], &states.last, &family.family);
        }
    }
}

#[test]
fn rerankers_give_the_logits_of_transformers() {
    let golden = golden();
    let rerankers = golden.families.iter().filter(|family| !family.logits.is_empty());
    assert_eq!(rerankers.clone().count(), 5);
    for family in rerankers {
        let (dir, entry) = golden.install(family);
        assert_eq!(entry.kind, ModelKind::Reranker { calibration: Calibration::default() });
        let reranker = CrossEncoder::load(dir.path(), &entry, Compute::default(), &pool(), 64).unwrap();
        for ((question, text), expected) in golden.pairs.iter().zip(&family.logits) {
            let passage = Passage { context: String::new(), text: text.clone() };
            let logit = block_on(reranker.score(&ctx(), question, &[passage])).unwrap()[0];
            assert!((logit - expected).abs() < 2e-5, "{}: {logit}, expected {expected}", family.family);
        }
    }
}

#[test]
fn a_vector_is_cut_before_it_is_normalized_and_another_reading_is_another_revision() {
    let golden = golden();
    let family = golden.embedders().next().unwrap();
    let (dir, entry) = golden.install(family);
    let load = |change: &dyn Fn(&mut ModelEntry)| {
        let mut entry = entry.clone();
        change(&mut entry);
        Embedder::load(dir.path(), &entry, Compute::default(), &pool(), 64).unwrap()
    };
    let described = load(&|_| ());
    let cut = load(&|entry| {
        if let ModelKind::Embedder { dimension, .. } = &mut entry.kind {
            *dimension = 8;
        }
    });
    let vector =
        |embedder: &Embedder| block_on(embedder.embed(&ctx(), Purpose::Query, &["it".to_owned()])).unwrap().remove(0);
    let (whole, short) = (vector(&described), vector(&cut));
    assert_eq!((whole.len(), short.len(), cut.dimension()), (32, 8, 8));
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length(&whole) - 1.0).abs() < 1e-6 && (length(&short) - 1.0).abs() < 1e-6);
    let scaled: Vec<f32> = whole[..8].iter().map(|x| x / length(&whole[..8])).collect();
    assert_agree(&short, &scaled, "the first components");

    let changes: [&dyn Fn(&mut ModelEntry); 5] = [
        &|entry| entry.max_tokens -= 1,
        &|entry| {
            if let ModelKind::Embedder { pooling, .. } = &mut entry.kind {
                *pooling = Pooling::Cls
            }
        },
        &|entry| {
            if let ModelKind::Embedder { normalize, .. } = &mut entry.kind {
                *normalize = false
            }
        },
        &|entry| {
            if let ModelKind::Embedder { query_prefix, .. } = &mut entry.kind {
                query_prefix.push_str("query: ")
            }
        },
        &|entry| {
            if let ModelKind::Embedder { passage_prefix, .. } = &mut entry.kind {
                passage_prefix.push_str("query: ")
            }
        },
    ];
    let mut revisions = vec![described.revision().to_owned(), cut.revision().to_owned()];
    revisions.extend(changes.map(|change| load(change).revision().to_owned()));
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), 7, "{revisions:?}");
    let renamed = load(&|entry| entry.revision = "another name for the same".to_owned());
    assert_eq!(renamed.revision(), described.revision());
    let path = dir.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n")).unwrap();
    assert_ne!(load(&|_| ()).revision(), described.revision());
}

#[test]
fn a_model_is_described_by_its_own_files() {
    let golden = golden();
    let (dir, _) = golden.install(golden.embedders().next().unwrap());
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let described = || ModelEntry::describe(dir.path(), &id("tiny"));
    let kind = |dimension, pooling, normalize, query: &str, passage: &str| {
        let (query_prefix, passage_prefix) = (query.to_owned(), passage.to_owned());
        ModelKind::Embedder { dimension, pooling, normalize, query_prefix, passage_prefix }
    };
    assert_eq!(described().unwrap().kind, kind(32, Pooling::Mean, true, "", ""));
    assert_eq!(described().unwrap().max_tokens, 64);

    write("tokenizer_config.json", r#"{"model_max_length": 1000000000000000019884624838656}"#);
    write("1_Pooling/config.json", r#"{"embedding_dimension": 32, "pooling_mode": "cls"}"#);
    write(
        "config_sentence_transformers.json",
        r#"{"prompts": {"query": "query: ", "passage": "passage: "}, "similarity_fn_name": "cosine", "truncate_dim": 16}"#,
    );
    assert_eq!(described().unwrap().kind, kind(16, Pooling::Cls, true, "query: ", "passage: "));
    assert_eq!(described().unwrap().max_tokens, 64);

    write("tokenizer_config.json", r#"{"model_max_length": 48}"#);
    write("modules.json", r#"[{"type": "sentence_transformers.models.Transformer"}, {"type": "a.Pooling"}]"#);
    write(
        "config_sentence_transformers.json",
        r#"{"prompts": {"query": null, "all": "of: "}, "default_prompt_name": "all", "similarity_fn_name": "dot"}"#,
    );
    assert_eq!(described().unwrap().kind, kind(32, Pooling::Cls, false, "of: ", "of: "));
    assert_eq!(described().unwrap().max_tokens, 48);

    write("modules.json", r#"[{"type": "a.Transformer"}, {"type": "a.Pooling"}, {"type": "a.Dense"}]"#);
    assert!(described().unwrap_err().to_string().starts_with("module Dense is not supported"));
}

#[test]
fn what_does_not_run_here_is_refused_with_the_reason() {
    let golden = golden();
    let family = |name: &str| golden.families.iter().find(|family| family.family == name).unwrap();
    #[track_caller]
    fn check(dir: &TempDir, file: &str, change: impl Fn(&mut Value), expected: &str) {
        let path = dir.path().join(file);
        let whole = std::fs::read_to_string(&path).unwrap();
        let mut json: Value = serde_json::from_str(&whole).unwrap();
        change(&mut json);
        std::fs::write(&path, json.to_string()).unwrap();
        let loaded = ModelEntry::describe(dir.path(), &id("tiny"))
            .and_then(|entry| Embedder::load(dir.path(), &entry, Compute::default(), &pool(), 64));
        let refused = loaded.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        std::fs::write(&path, whole).unwrap();
    }
    let (bert, _) = golden.install(family("bert"));
    check(&bert, "config.json", |config| config["model_type"] = "t5".into(), "model type \"t5\" is not supported");
    check(&bert, "config.json", |config| config["hidden_act"] = "relu".into(), "hidden_act \"relu\"");
    check(&bert, "config.json", |config| config["num_attention_heads"] = 3.into(), "a multiple of num_attention_heads");
    check(
        &bert,
        "config.json",
        |config| config["vocab_size"] = 401.into(),
        "shape [400, 32], config.json says [401, 32]",
    );
    check(&bert, "tokenizer.json", |tokenizer| tokenizer["post_processor"] = Value::Null, "post_processor");
    let (roberta, _) = golden.install(family("roberta"));
    check(&roberta, "config.json", |config| config["pad_token_id"] = 65.into(), "sizes are at least 1");
    let (modern, _) = golden.install(family("modernbert"));
    check(&modern, "config.json", |config| config["mlp_bias"] = true.into(), "ModernBERT with biases");
    check(&modern, "config.json", |config| config["global_rope_theta"] = Value::Null, "names no rope_theta");
    check(
        &modern,
        "config.json",
        |config| config["num_hidden_layers"] = 5.into(),
        "layers.4.attn_norm.weight is missing",
    );
}

#[test]
fn a_dimension_beyond_the_encoder_is_refused() {
    let golden = golden();
    let (dir, mut entry) = golden.install(golden.embedders().next().unwrap());
    if let ModelKind::Embedder { dimension, .. } = &mut entry.kind {
        *dimension = 33;
    }
    let refused = Embedder::load(dir.path(), &entry, Compute::default(), &pool(), 64).unwrap_err().to_string();
    assert!(refused.ends_with("dimension is 33, expected 1 to 32 (hidden_size)"), "{refused}");
}

/// Beyond the piece that goes through the library at once.
#[test]
fn a_long_text_has_the_tokens_of_the_whole_in_every_family() {
    let golden = golden();
    let text = "Größe, naïve café: 東京 🙂\u{2003}and  three   spaces,\n\n a line that is passed by; ".repeat(1_500);
    for family in golden.embedders() {
        let (dir, entry) = golden.install(family);
        let embedder = Embedder::load(dir.path(), &entry, Compute::default(), &pool(), 64).unwrap();
        let mut starts = Vec::new();
        embedder.token_starts(&text, &mut starts);
        let mut library = tokenizers::Tokenizer::from_file(dir.path().join("tokenizer.json")).unwrap();
        library.set_encode_special_tokens(true);
        let whole = library.encode(text.as_str(), false).unwrap();
        let expected: Vec<u32> = whole.get_offsets().iter().map(|(start, _)| *start as u32).collect();
        assert!(starts == expected, "{}", family.family);
        assert!(starts.is_sorted());
    }
}
