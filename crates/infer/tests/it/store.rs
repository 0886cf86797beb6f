//! Models in folders.

use futures::executor::block_on;
use ibid_core::{Embed, Purpose};
use ibid_infer::{Compute, Embedder, FileState, InferError, ModelKind, ModelStore, Precision, compare, quantize};

use crate::{EMBEDDER, RERANKER, ctx, id, models_dir, pool, shipped};

#[test]
fn the_shipped_models_are_listed_and_whole() {
    let models = shipped().list().unwrap();
    let names: Vec<&str> = models.iter().map(|model| model.entry.id.as_str()).collect();
    assert_eq!(names, [EMBEDDER, RERANKER, "rerank-minilm-l2-h128-int8"]);
    for model in models {
        assert_eq!(model.entry.precision, Precision::Int8Rows);
        let files = shipped().verify(&model.entry.id).unwrap();
        assert!(files.iter().all(|(_, state)| *state == FileState::Ok), "{files:?}");
    }
}

#[test]
fn an_unknown_model_names_the_places_and_the_way_out() {
    let store = ModelStore::new(vec!["/nowhere".into(), "/elsewhere".into()]);
    assert_eq!(
        store.find(&id("owner/name")).unwrap_err().to_string(),
        "model owner/name is not installed; looked in /nowhere, /elsewhere; installed: none; pull it or import its folder"
    );
    let error = shipped().load_reranker(&id(EMBEDDER), &pool(), 512).unwrap_err();
    assert_eq!(error.to_string(), format!("model {EMBEDDER} is no reranker; choose one that is"));
}

#[test]
fn an_imported_model_answers_like_its_source_and_damage_is_found() {
    let root = tempfile::tempdir().unwrap();
    let name = id("owner/imported");
    let installed = ModelStore::import(&models_dir().join(EMBEDDER), &name, root.path()).unwrap();
    assert!(matches!(installed.entry.kind, ModelKind::Embedder { dimension: 384, .. }));
    let again = ModelStore::import(&models_dir().join(EMBEDDER), &name, root.path());
    assert!(matches!(again, Err(InferError::Exists { .. })));

    let store = ModelStore::new(vec![root.path().to_owned(), models_dir()]);
    let (pool, ctx, texts) = (pool(), ctx(), ["the same".to_owned()]);
    let imported = store.load_embedder(&name, &pool, 512).unwrap();
    let source = store.load_embedder(&id(EMBEDDER), &pool, 512).unwrap();
    assert_eq!(imported.revision(), source.revision());
    let vector = |embedder: &dyn Embed| block_on(embedder.embed(&ctx, Purpose::Query, &texts)).unwrap();
    assert!(vector(&imported) == vector(&source));

    let weights = installed.dir.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    assert!(matches!(store.load_embedder(&name, &pool, 512), Err(InferError::Checksum { .. })));
    let files = store.verify(&name).unwrap();
    assert!(matches!(&files[0], (file, FileState::Mismatch { .. }) if file == "model.safetensors"));
}

#[test]
fn a_manifest_cannot_leave_its_root() {
    let root = tempfile::tempdir().unwrap();
    let shipped = std::fs::read_to_string(models_dir().join("manifest.toml")).unwrap();
    let escaping = shipped.replace(&format!("folder = \"{EMBEDDER}\""), "folder = \"..\"");
    std::fs::write(root.path().join("manifest.toml"), escaping).unwrap();
    let error = ModelStore::new(vec![root.path().to_owned()]).list().unwrap_err();
    assert!(error.to_string().ends_with(r#"folder ".." of model all-MiniLM-L6-v2-int8 is no plain name"#), "{error}");
}

#[test]
fn a_quantized_model_agrees_with_its_source() {
    let root = tempfile::tempdir().unwrap();
    let (source, target) = (models_dir().join(EMBEDDER), root.path().join("small"));
    let entry = quantize(&source, &target, &id("small")).unwrap();
    assert!(matches!(quantize(&source, &target, &id("small")), Err(InferError::Exists { .. })));
    assert_eq!(entry.precision, Precision::Int8Rows);
    assert_eq!(ModelStore::new(vec![root.path().to_owned()]).find(&id("small")).unwrap().entry, entry);

    let (pool, texts) = (pool(), ["Vectors, once more.".to_owned(), "Größe".to_owned()]);
    let small = Embedder::load(&target, &entry, Compute::default(), &pool, 512).unwrap();
    let full = shipped().load_embedder(&id(EMBEDDER), &pool, 512).unwrap();
    let agreement = block_on(compare(&ctx(), &full, &small, &texts)).unwrap();
    assert_eq!(agreement.texts, 2);
    assert!(agreement.cosine_min > 0.998 && agreement.cosine_mean >= agreement.cosine_min, "{agreement:?}");
}
