//! Texts to vectors beside torch and onnxruntime.
//!
//! Passages of exactly 128 tokens; of 32 to 256 tokens (uniform, fixed seed) sorted by length, and the same as they come;
//! questions of 12 tokens one by one. Every engine reads the same batches, bounded by tokens; tokenizing is part of every
//! time. A rate's ratio is the median over the rounds, each round's engines measured closest together.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ibid_core::{Purpose, Tokenize};
use ibid_infer::{Embedder, Installed, fma_peak};
use ibid_runtime::Pool;
use serde_json::{Map, Value, json};

use super::Peers;
use super::figures::{Machine, median, percentile_ms, ratio, rounded, spread};
use super::model::{Choice, in_all_numbers, open_at, operations};
use super::peer::{ENCODERS, Peer};
use super::race::{Ours, Race, Seconds, Work};
use super::texts::Pieces;
use crate::cli::Global;
use crate::cli::terminal::{print_table, teller};

/// `[CLS]` and `[SEP]`.
pub(super) const SPECIAL_TOKENS: usize = 2;
/// Looks at the machine's peak before the rounds, and as many after them.
const PEAK_LOOKS: usize = 3;
const PASSAGE_TOKENS: usize = 128;
const QUESTION_TOKENS: usize = 12;
pub(super) const MIXED_TOKENS: std::ops::RangeInclusive<usize> = 32..=256;

/// Texts to vectors: passages a second and the time of one question.
#[derive(Debug, Args)]
pub(in crate::cli) struct Embed {
    #[command(flatten)]
    peers: Peers,
    #[command(flatten)]
    choice: Choice,
    /// Text from DIR/corpus.jsonl [default: the handbook]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Threads of each engine
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Rounds in which the engines take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Passages of each workload
    #[arg(long, default_value_t = 256)]
    passages: usize,
    /// Questions a round
    #[arg(long, default_value_t = 100)]
    questions: usize,
    /// Tokens of one batch, for every engine [default: models.batch_tokens_max]
    #[arg(long)]
    batch_tokens: Option<usize>,
}

/// Our engines on a model, by name.
pub(super) fn embedders(
    model: &Installed,
    pool: &Pool,
    batch_tokens_max: usize,
) -> anyhow::Result<Vec<(&'static str, Arc<Embedder>)>> {
    in_all_numbers(|compute| Embedder::load(&model.dir, &model.entry, compute, pool, batch_tokens_max))
}

impl Embed {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.config()?;
        let mut peer = self
            .peers
            .python
            .as_deref()
            .map(|python| Peer::start(python, ENCODERS, &[self.threads.to_string()]))
            .transpose()?;
        let model = self.choice.open(&config.models.embedder, &config, &self.peers, peer.as_mut())?;
        let engines = peer.as_mut().map(|peer| open_at(peer, &model, &self.peers)).transpose()?.unwrap_or_default();
        let pool = Pool::new(self.threads, config.compute.jobs_max)?;
        let batch_tokens = self.batch_tokens.unwrap_or(config.models.batch_tokens_max);
        let ours = embedders(&model, &pool, batch_tokens)?;
        let machine = Machine::new(self.threads, peer.as_ref().map(|peer| &peer.versions));

        let tokenizer = Arc::clone(&ours[0].1) as Arc<dyn Tokenize>;
        let (works, questions) = self.works(&Pieces::open(self.data.as_deref(), tokenizer)?, batch_tokens)?;
        let ours = ours.into_iter().map(|(name, embedder)| (name, Ours::Embedder(embedder))).collect();
        let mut race = Race::new(ours, peer, engines);
        for work in works.iter().chain([&questions]) {
            if let Some(note) = race.enter(work)? {
                eprintln!("note: {note}");
            }
        }
        let (progress, tell) = teller();
        let mut peaks = peaks(&pool);
        let seconds = race.rounds(&works, self.rounds, &tell).await?;
        peaks.extend(self::peaks(&pool));
        let fma_share = fma_share(&model, &works, &seconds, median(&peaks))?;
        let times = race.latencies(&questions, self.rounds, &tell).await?;
        progress.finish_and_clear();

        let percentiles = |engine: &String| {
            let times = times.get(engine).map(Vec::as_slice).unwrap_or_default();
            (percentile_ms(times, 50), percentile_ms(times, 99))
        };
        let question_ms: Vec<(String, (f64, f64))> =
            race.engines.iter().map(|engine| (engine.clone(), percentiles(engine))).collect();
        if global.json {
            let mut report = machine.json();
            report.insert("model".to_owned(), json!(model.entry.id.as_str()));
            report.insert("batch_tokens".to_owned(), json!(batch_tokens));
            report.insert("rounds".to_owned(), json!(self.rounds));
            report.insert("medians".to_owned(), medians(&works, &race.engines, &seconds));
            let question = |(p50, p99): (f64, f64)| json!({"p50": rounded(p50, 3), "p99": rounded(p99, 3)});
            let of_all = question_ms.iter().map(|(engine, times)| (engine.clone(), question(*times)));
            report.insert("query_ms".to_owned(), Value::Object(of_all.collect()));
            report.insert("ratios".to_owned(), Value::Object(ratios(&seconds, &question_ms)));
            report.insert("fma_peak_gflops".to_owned(), rounded(median(&peaks), 1));
            report.insert("fma_share".to_owned(), rounded(fma_share, 3));
            println!("{}", Value::Object(report));
            return Ok(());
        }
        println!("{}, batches of {batch_tokens} tokens, {} rounds", model.entry.id, self.rounds);
        println!("{}\n", machine.line());
        print_rates(&works, &race.engines, &seconds, "passages/s");
        let row = |(engine, (p50, p99)): &(String, (f64, f64))| {
            vec![engine.clone(), format!("{p50:.2}"), format!("{p99:.2}")]
        };
        println!("\n{}", questions.about);
        print_table(&["engine", "p50 ms", "p99 ms"], &question_ms.iter().map(row).collect::<Vec<_>>());
        print_ratios(&ratios(&seconds, &question_ms));
        println!("fma_share {fma_share:.3} of {:.1} GFLOP/s, ibid_f32 on {}", median(&peaks), works[0].about);
        Ok(())
    }

    /// The workloads, and the questions.
    fn works(&self, pieces: &Pieces, batch_tokens: usize) -> anyhow::Result<(Vec<Work>, Work)> {
        let cut = |length: usize| anyhow::Ok((pieces.cut(length - SPECIAL_TOKENS)?, length));
        let fixed = (0..self.passages).map(|_| cut(PASSAGE_TOKENS)).collect::<Result<Vec<_>, _>>()?;
        let span = MIXED_TOKENS.end() - MIXED_TOKENS.start() + 1;
        let length = || MIXED_TOKENS.start() + pieces.draw(span);
        let mixed = (0..self.passages).map(|_| cut(length())).collect::<Result<Vec<_>, _>>()?;
        let mut sorted = mixed.clone();
        sorted.sort_by_key(|(_, length)| *length);
        let work = |name, about: String, texts| Work::texts(name, about, Purpose::Passage, texts, batch_tokens);
        let range = format!("{} to {} tokens", MIXED_TOKENS.start(), MIXED_TOKENS.end());
        let works = vec![
            work("fixed128", format!("{PASSAGE_TOKENS} tokens"), fixed),
            work("mixed", format!("{range}, sorted by length"), sorted),
            work("mixed_unsorted", format!("{range}, as they come"), mixed),
        ];
        let questions = (0..self.questions).map(|_| cut(QUESTION_TOKENS)).collect::<Result<Vec<_>, _>>()?;
        let about = format!("one question of {QUESTION_TOKENS} tokens");
        Ok((works, Work::texts("query", about, Purpose::Query, questions, batch_tokens)))
    }
}

/// What this machine's threads could multiply and add, in GFLOP/s: several looks, for its clock moves.
fn peaks(pool: &Pool) -> Vec<f64> {
    (0..PEAK_LOOKS).map(|_| fma_peak(pool)).collect()
}

/// The products of the first workload in f32, a second, as a share of what the machine could do.
fn fma_share(model: &Installed, works: &[Work], seconds: &Seconds, peak_gflops: f64) -> anyhow::Result<f64> {
    let Some(work) = works.first() else { return Ok(0.0) };
    let seconds = seconds.get(&(work.name, "ibid_f32".to_owned())).map(Vec::as_slice).unwrap_or_default();
    Ok(operations(model, &work.lengths)? / median(seconds) / 1e9 / peak_gflops)
}

/// By workload and engine: inputs and tokens a second in the median, and how far the rounds lie apart.
pub(super) fn medians(works: &[Work], engines: &[String], seconds: &Seconds) -> Value {
    let of = |work: &Work, engine: &String| {
        let rates = rates(work, engine, seconds);
        let per_input = work.tokens() as f64 / work.lengths.len().max(1) as f64;
        json!({
            "per_s": rounded(median(&rates), 2),
            "tokens_per_s": rounded(median(&rates) * per_input, 0),
            "spread": rounded(spread(&rates), 3),
        })
    };
    let of_work = |work: &Work| {
        let of_all = engines.iter().map(|engine| (engine.clone(), of(work, engine)));
        (work.name.to_owned(), Value::Object(of_all.collect()))
    };
    Value::Object(works.iter().map(of_work).collect())
}

/// The same as a table.
pub(super) fn print_rates(works: &[Work], engines: &[String], seconds: &Seconds, unit: &str) {
    let mut header = vec![unit];
    header.extend(engines.iter().map(String::as_str));
    let row = |work: &Work| {
        let cell = |engine: &String| {
            let rates = rates(work, engine, seconds);
            format!("{:.1} ±{:.0}%", median(&rates), 50.0 * spread(&rates))
        };
        std::iter::once(work.about.clone()).chain(engines.iter().map(cell)).collect()
    };
    print_table(&header, &works.iter().map(row).collect::<Vec<_>>());
}

/// One ratio a line.
pub(super) fn print_ratios(ratios: &Map<String, Value>) {
    for (name, ratio) in ratios {
        println!("{name} {ratio}");
    }
}

/// Inputs a second, round by round.
pub(super) fn rates(work: &Work, engine: &str, seconds: &Seconds) -> Vec<f64> {
    let seconds = seconds.get(&(work.name, engine.to_owned())).map(Vec::as_slice).unwrap_or_default();
    seconds.iter().map(|seconds| work.lengths.len() as f64 / seconds).collect()
}

/// Ours beside theirs with the same numbers: of rates ours / theirs, of a question's median time (and its 99th percentile)
/// ours / theirs too, so that there less is better.
fn ratios(seconds: &Seconds, question_ms: &[(String, (f64, f64))]) -> Map<String, Value> {
    let mut ratios = rate_ratios(&["fixed128", "mixed", "mixed_unsorted"], seconds);
    let times = |engine: &str| question_ms.iter().find(|(name, _)| name == engine).map(|(_, times)| *times);
    for (ours, suffix, theirs) in COMPARED {
        if let (Some(our), Some(their)) = (times(ours), times(theirs)) {
            ratios.insert(format!("query{suffix}_vs_{theirs}"), rounded(our.0 / their.0, 3));
            ratios.insert(format!("query_p99{suffix}_vs_{theirs}"), rounded(our.1 / their.1, 3));
        }
    }
    ratios
}

/// Ours, what its ratios are called, and theirs.
const COMPARED: [(&str, &str, &str); 3] =
    [("ibid_f32", "", "torch_f32"), ("ibid_f32", "", "ort_f32"), ("ibid_int8", "_int8", "ort_int8")];

/// Ours beside theirs, inputs a second.
pub(super) fn rate_ratios(works: &[&'static str], seconds: &Seconds) -> Map<String, Value> {
    let mut ratios = Map::new();
    for (ours, suffix, theirs) in COMPARED {
        for work in works {
            let of = |engine: &str| seconds.get(&(*work, engine.to_owned()));
            if let (Some(our), Some(their)) = (of(ours), of(theirs)) {
                // Seconds: the rate is their inverse.
                ratios.insert(format!("{work}{suffix}_vs_{theirs}"), rounded(ratio(their, our), 3));
            }
        }
    }
    ratios
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_named_by_what_they_compare() {
        let of = |work, engine: &str, seconds: &[f64]| ((work, engine.to_owned()), seconds.to_vec());
        let seconds = Seconds::from([
            of("mixed", "ibid_f32", &[1.0, 2.0, 1.0]),
            of("mixed", "ort_f32", &[3.0, 6.0, 3.0]),
            of("fixed128", "ibid_f32", &[1.0]),
            of("fixed128", "ort_f32", &[2.0]),
            of("fixed128", "ibid_int8", &[2.0]),
            of("fixed128", "ort_int8", &[1.0]),
        ]);
        let question_ms = [("ibid_f32".to_owned(), (4.0, 8.0)), ("ort_f32".to_owned(), (5.0, 5.0))];
        insta::assert_snapshot!(
            Value::Object(ratios(&seconds, &question_ms)),
            @r#"{"fixed128_int8_vs_ort_int8":0.5,"fixed128_vs_ort_f32":2.0,"mixed_vs_ort_f32":3.0,"query_p99_vs_ort_f32":1.6,"query_vs_ort_f32":0.8}"#
        );
    }
}
