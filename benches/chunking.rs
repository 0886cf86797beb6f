//! Markdown to chunks: how much text a second, and the tokenizer's share of it.
//!
//! Corpus: the Markdown files of `datasets/handbook` in the order of their paths, over and over until there is 1 MB, as one
//! document; no randomness. Compares the shipped embedder's tokenizer, as ingest uses it, with the tokenizers library on the
//! same `tokenizer.json`, and with a stand-in that costs next to nothing (a token a word and a punctuation mark), which
//! leaves the chunker alone.
//! Leaves out: plain text, files of their own (each costs a little more than its bytes), several documents side by side.
//!
//! Run: `cargo bench -p ibid --bench chunking`

mod beside;

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use ibid_chunk::{Chunked, Chunker, Config, Limits, outline};
use ibid_core::{MediaType, ModelId, Tokenize};
use ibid_infer::ModelStore;
use ibid_runtime::Pool;
use walkdir::WalkDir;

const TEXT_BYTES: usize = 1_000_000;
const MODEL: &str = "all-MiniLM-L6-v2-int8";

/// All of it: blocks, then chunks.
fn cut(chunker: &Chunker, text: &str, tokenizer: &dyn Tokenize) -> Chunked {
    let outline = outline(text, MediaType::Markdown, &Limits::NONE).expect("any text is Markdown");
    chunker.chunk(text, outline, tokenizer)
}

fn main() {
    let mut criterion = beside::criterion();
    chunk(&mut criterion);
    criterion.final_summary();
}

fn chunk(criterion: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = handbook(&root.join("datasets/handbook"));
    let store = ModelStore::new(vec![root.join("models")]);
    let pool = Pool::new(1, 1).expect("a thread");
    let model = ModelId::new(MODEL).expect("a valid name");
    let embedder = store.load_embedder(&model, &pool, 512).expect("the model comes with the repository");
    let chunker = Chunker::new(Config::auto()).expect("limits in range");

    let mut group = criterion.benchmark_group("chunk");
    group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(6));
    group.throughput(Throughput::BytesDecimal(text.len() as u64));
    let mut time = |name: &str, tokenizer: &dyn Tokenize| {
        let chunks = cut(&chunker, &text, tokenizer).chunks;
        let tokens: u32 = chunks.iter().map(|chunk| chunk.tokens).sum();
        println!("{name}: {} chunks of {} tokens in the mean", chunks.len(), tokens / chunks.len() as u32);
        beside::time(&mut group, name, || (), |()| cut(&chunker, &text, tokenizer))
    };
    let library = tokenizers::Tokenizer::from_file(root.join("models").join(MODEL).join("tokenizer.json"));
    let wordpieces = time("wordpieces", &embedder);
    let library =
        time("wordpieces of the library", &Library(library.expect("the tokenizer comes with the repository")));
    beside::print_ratio(&wordpieces, &library);
    let words = time("words", &Words);
    beside::print_ratio(&words, &wordpieces);
}

/// The tokenizers library.
#[derive(Debug)]
struct Library(tokenizers::Tokenizer);

impl Tokenize for Library {
    fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
        let encoding = self.0.encode(text, false).expect("it has a token for every text");
        out.extend(encoding.get_offsets().iter().map(|(start, _)| *start as u32));
    }
}

/// A token for each word and each punctuation mark.
#[derive(Debug)]
struct Words;

impl Tokenize for Words {
    fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
        let mut in_word = false;
        for (byte, character) in text.char_indices() {
            let is_word = character.is_alphanumeric();
            let starts = if is_word { !in_word } else { !character.is_whitespace() };
            if starts {
                out.push(byte as u32);
            }
            in_word = is_word;
        }
    }
}

fn handbook(folder: &Path) -> String {
    let files = WalkDir::new(folder).sort_by_file_name().into_iter().map(|entry| entry.expect("a readable folder"));
    let markdown = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "md"));
    let texts: Vec<String> =
        markdown.map(|file| std::fs::read_to_string(file.path()).expect("a readable file")).collect();
    let once = texts.join("\n\n");
    once.repeat(TEXT_BYTES.div_ceil(once.len()))
}
