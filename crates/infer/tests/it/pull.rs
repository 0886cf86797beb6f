//! The download, against a small hub on this machine that breaks off when told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ibid_infer::{FullForm, InferError, Installed, ModelKind, Pooling, pull};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub has and what it was asked.
#[derive(Default)]
struct Hub {
    files: BTreeMap<&'static str, Vec<u8>>,
    /// The weights' hash as announced.
    sha256: String,
    /// The weights end here, once.
    break_at: Option<usize>,
    asked: Vec<String>,
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Hub {
    fn with_model() -> Hub {
        let shape = [100, 200];
        let floats: Vec<u8> = (0..20_000_u32).flat_map(|n| (n as f32).to_le_bytes()).collect();
        let words = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &floats).unwrap();
        let weights = safetensors::serialize([("embeddings.word_embeddings.weight", words)], None).unwrap();
        let config = r#"{"model_type": "bert", "vocab_size": 100, "hidden_size": 200, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 400, "hidden_act": "gelu", "max_position_embeddings": 64,
            "type_vocab_size": 2, "layer_norm_eps": 1e-12, "architectures": ["BertModel"]}"#;
        let files = BTreeMap::from([
            ("config.json", config.into()),
            ("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#.into()),
            ("tokenizer.json", "{}".into()),
            ("model.safetensors", weights),
        ]);
        Hub { sha256: hex(&files["model.safetensors"]), files, ..Hub::default() }
    }

    fn serve(self) -> (String, Arc<Mutex<Hub>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Mutex::new(self));
        let served = Arc::clone(&hub);
        std::thread::Builder::new()
            .spawn(move || {
                for stream in listener.incoming() {
                    served.lock().unwrap().answer(stream.unwrap());
                }
            })
            .unwrap();
        (address, hub)
    }

    fn answer(&mut self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let mut from = 0;
        for line in lines.take_while(|line| !line.is_empty()) {
            if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                from = range.trim_end_matches('-').parse().unwrap();
            }
        }
        self.asked.push(format!("{path} from {from}"));
        let reply = |head: String, body: &[u8]| {
            let length = body.len();
            let head = format!("HTTP/1.1 {head}connection: close\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream
        };
        if let Some(weights) = path.strip_prefix("/store/") {
            let all = &self.files[weights];
            let body = &all[from..];
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            let end = self.break_at.take().map_or(body.len(), |end| end - from);
            // What is announced is the whole rest, even where less will follow.
            reply(format!("{status}\r\n"), body).write_all(&body[..end]).unwrap();
            return;
        }
        let (_, name) = path.strip_prefix("/owner/name/resolve/").unwrap().split_once('/').unwrap();
        let commit = format!("x-repo-commit: {COMMIT}\r\n");
        match self.files.get(name) {
            None => drop(reply("404 Not Found\r\n".to_owned(), b"")),
            Some(_) if name == "model.safetensors" => {
                let hash = &self.sha256;
                let head = format!("302 Found\r\n{commit}x-linked-etag: \"{hash}\"\r\nlocation: /store/{name}\r\n");
                drop(reply(head, b""));
            }
            Some(body) => {
                let body = body.clone();
                reply(format!("200 OK\r\n{commit}"), &body).write_all(&body).unwrap();
            }
        }
    }
}

fn fetch(address: &str, root: &Path) -> (Result<Installed, InferError>, Vec<u64>) {
    let form = FullForm { repository: "owner/name".to_owned(), revision: "main".to_owned() };
    let mut weights = Vec::new();
    let pulled = pull(address, &form, root, &mut |progress| {
        if progress.file == "model.safetensors" {
            weights.push(progress.bytes);
            assert!(progress.bytes_total.is_some_and(|total| total > 80_000));
        }
    });
    (pulled, weights)
}

#[test]
fn a_download_that_broke_off_is_resumed_and_one_commit_is_fetched() {
    let root = tempfile::tempdir().unwrap();
    let (address, hub) = Hub { break_at: Some(50_000), ..Hub::with_model() }.serve();
    let (broken, _) = fetch(&address, root.path());
    assert!(matches!(broken, Err(InferError::Fetch { .. })), "{broken:?}");
    assert!(!root.path().join("owner--name").exists());

    let (pulled, progress) = fetch(&address, root.path());
    let Installed { entry, dir } = pulled.unwrap();
    assert_eq!(entry.revision, COMMIT);
    assert!(matches!(entry.kind, ModelKind::Embedder { dimension: 200, pooling: Pooling::Cls, .. }));
    assert_eq!(entry.max_tokens, 64);
    let hub = hub.lock().unwrap();
    assert_eq!(std::fs::read(dir.join("model.safetensors")).unwrap(), hub.files["model.safetensors"]);
    assert!(progress.iter().all(|bytes| *bytes > 50_000), "{progress:?}");
    assert_eq!(hub.asked.last().unwrap(), "/store/model.safetensors from 50000");
    assert_eq!(hub.asked[0], "/owner/name/resolve/main/config.json from 0");
    let pinned = format!("/owner/name/resolve/{COMMIT}/tokenizer.json from 0");
    assert!(hub.asked.contains(&pinned), "{:?}", hub.asked);
}

#[test]
fn weights_with_another_hash_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let (address, hub) = Hub { sha256: hex(b"other weights"), ..Hub::with_model() }.serve();
    let (pulled, _) = fetch(&address, root.path());
    assert!(matches!(pulled, Err(InferError::Checksum { .. })), "{pulled:?}");
    let weights = |hub: &Mutex<Hub>| hub.lock().unwrap().asked.last().cloned().unwrap();
    assert_eq!(weights(&hub), "/store/model.safetensors from 0");
    let (_, _) = fetch(&address, root.path());
    assert_eq!(weights(&hub), "/store/model.safetensors from 0", "nothing of the first try is left");
    assert!(!root.path().join("owner--name").exists());
}

#[test]
fn a_model_in_shards_or_a_name_that_leads_elsewhere_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::with_model();
    hub.files.remove("model.safetensors");
    let (address, _hub) = hub.serve();
    let (pulled, _) = fetch(&address, root.path());
    assert!(pulled.unwrap_err().to_string().contains("not shards"));
    let form = FullForm { repository: "../other".to_owned(), revision: "main".to_owned() };
    assert!(matches!(pull(&address, &form, root.path(), &mut |_| ()), Err(InferError::Unsupported { .. })));
}
