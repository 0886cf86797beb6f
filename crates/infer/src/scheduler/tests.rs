use std::pin::{Pin, pin};
use std::sync::mpsc as channel;

use futures::executor::block_on;
use futures::future::join_all;
use ibid_runtime::{ManualClock, Stopped, SystemClock};
use proptest::prelude::*;

use super::*;

const SOON: Duration = Duration::from_secs(20);
/// A text that cannot be read.
const POISON: u32 = 13;

/// Adds up a text's tokens, and keeps the first token of each text of each pass.
struct Sums {
    passes: Mutex<Vec<Vec<u32>>>,
    /// The first pass says that it has begun, and waits.
    gate: Mutex<Option<(channel::Sender<()>, channel::Receiver<()>)>>,
}

impl Head for Sums {
    type Output = u32;

    fn forward(&self, texts: &[Tokens], _: Spread, make_way: &(dyn Fn() + Sync)) -> Result<Vec<u32>, InferError> {
        self.passes.lock().unwrap().push(texts.iter().map(|text| text.ids[0]).collect());
        if let Some((begun, wait)) = self.gate.lock().unwrap().take() {
            begun.send(()).unwrap();
            wait.recv_timeout(SOON).unwrap();
        }
        make_way();
        assert!(texts.iter().all(|text| text.ids[0] != POISON));
        Ok(texts.iter().map(|text| text.ids.iter().sum()).collect())
    }
}

fn served(threads: usize, batch_tokens_max: usize) -> Served<Sums> {
    let sums = Sums { passes: Mutex::default(), gate: Mutex::default() };
    let pool = Pool::new(threads, 1_024).unwrap();
    Served::new(ModelId::new("sums").unwrap(), String::new(), sums, &pool, batch_tokens_max)
}

/// A model whose first pass waits: that it has begun is heard, that it goes on is said.
fn gated(batch_tokens_max: usize) -> (Served<Sums>, channel::Receiver<()>, channel::Sender<()>) {
    let served = served(1, batch_tokens_max);
    let ((begun, hear), (open, wait)) = (channel::channel(), channel::channel());
    *served.model().gate.lock().unwrap() = Some((begun, wait));
    (served, hear, open)
}

fn ctx(priority: Priority) -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()), priority, None)
}

fn text(first: u32, length: usize) -> Vec<u32> {
    let mut ids = vec![1; length];
    ids[0] = first;
    ids
}

async fn sums(served: &Served<Sums>, ctx: &Ctx, texts: &[Vec<u32>]) -> Result<Vec<u32>, ModelError> {
    let slice = |range: Range<usize>| {
        let texts = texts[range].to_vec();
        move |_: &Sums| texts.into_iter().map(|ids| Tokens { second: ids.len(), ids }).collect()
    };
    served.call(ctx, texts.len(), slice).await
}

/// Drives `call` until the gated pass has begun.
async fn until_begun<F: Future>(begun: &channel::Receiver<()>, call: &mut Pin<&mut F>) {
    while begun.try_recv().is_err() {
        assert!(futures::poll!(call.as_mut()).is_pending());
    }
}

fn passes(served: &Served<Sums>) -> Vec<Vec<u32>> {
    served.model().passes.lock().unwrap().clone()
}

#[test]
fn a_question_overtakes_a_thousand_passages() {
    let (served, begun, open) = gated(64);
    let (ingest, query) = (ctx(Priority::Ingest), ctx(Priority::Query));
    let call: Vec<Vec<u32>> = (0..100).map(|_| text(1, 8)).collect();
    block_on(async {
        let passages = join_all((0..10).map(|_| sums(&served, &ingest, &call)));
        let mut passages = pin!(passages);
        until_begun(&begun, &mut passages).await;
        let question = [text(7, 5)];
        let question = async {
            let answered = sums(&served, &query, &question);
            futures::join!(answered, async { open.send(()).unwrap() }).0.unwrap()
        };
        let (passages, question) = futures::join!(passages, question);
        assert_eq!(question, [11]);
        assert!(passages.into_iter().all(|sums| sums.unwrap() == [8; 100]));
    });
    assert_eq!(passes(&served)[1], [7], "within the pass that was under way");
}

#[test]
fn calls_that_wait_together_share_a_pass_and_are_told_of_their_own_texts_alone() {
    let (served, begun, open) = gated(1_000);
    let contexts = [(); 3].map(|()| ctx(Priority::Rerank));
    let calls = [vec![text(2, 3)], vec![text(3, 40), text(4, 3)], vec![text(5, 3), text(6, 3), text(8, 40)]];
    block_on(async {
        let calls = calls.iter().zip(&contexts).map(|(texts, ctx)| sums(&served, ctx, texts));
        let mut calls = pin!(join_all(calls));
        until_begun(&begun, &mut calls).await;
        open.send(()).unwrap();
        let sums: Vec<Vec<u32>> = calls.await.into_iter().map(Result::unwrap).collect();
        assert_eq!(sums, [vec![4], vec![42, 6], vec![7, 8, 47]]);
    });
    assert_eq!(passes(&served), [vec![2], vec![8, 6, 5, 4, 3]]);
    let counts = |ctx: &Ctx| ctx.stages().iter().map(|stage| (stage.stage, stage.count)).collect::<Vec<_>>();
    assert_eq!(counts(&contexts[1]), [("infer.queue", 2), ("infer.forward", 2)]);
    assert_eq!(counts(&contexts[2]), [("infer.queue", 3), ("infer.forward", 3)]);
}

#[test]
fn nothing_is_computed_for_who_has_left_or_is_late() {
    let (served, begun, open) = gated(64);
    let clock = Arc::new(ManualClock::at(0));
    let timely = Ctx::new(clock.clone(), Priority::Ingest, Some(SOON));
    let ten: Vec<Vec<u32>> = (0..10).map(|_| text(1, 64)).collect();
    block_on(async {
        {
            let mut leaving = pin!(sums(&served, &timely, &ten));
            until_begun(&begun, &mut leaving).await;
        }
        open.send(()).unwrap();
        assert_eq!(sums(&served, &timely, &[text(2, 3), text(3, 3)]).await.unwrap(), [4, 5]);
        assert_eq!(passes(&served).len(), 2);
        assert!(served.shared.queue(Priority::Ingest).is_empty());

        let ((begun, hear), (open, wait)) = (channel::channel(), channel::channel());
        *served.model().gate.lock().unwrap() = Some((begun, wait));
        let mut late = pin!(sums(&served, &timely, &ten));
        until_begun(&hear, &mut late).await;
        clock.advance(SOON);
        open.send(()).unwrap();
        let error = late.await.unwrap_err();
        assert!(matches!(error, ModelError::Stopped(Stopped::Deadline)), "{error}");
        assert_eq!(passes(&served).len(), 3);
    });
}

#[test]
fn a_full_queue_refuses_one_priority_and_recovers() {
    let (mut served, begun, open) = gated(64);
    Arc::get_mut(&mut served.shared).unwrap().queue_texts_max = 130;
    let (ingest, query) = (ctx(Priority::Ingest), ctx(Priority::Query));
    let huge: Vec<Vec<u32>> = (0..1_000).map(|_| text(1, 8)).collect();
    let three = [text(2, 2), text(3, 2), text(4, 2)];
    block_on(async {
        // More than the queue holds, and yet let in: it goes by slices.
        let mut first = pin!(sums(&served, &ingest, &huge));
        until_begun(&begun, &mut first).await;
        let error = sums(&served, &ingest, &three).await.unwrap_err();
        assert!(matches!(error, ModelError::Overloaded { .. }), "{error}");
        let start = async { open.send(()).unwrap() };
        let (first, questions, ()) = futures::join!(first, sums(&served, &query, &three), start);
        assert_eq!(questions.unwrap(), [3, 4, 5]);
        assert_eq!(first.unwrap(), [8; 1_000]);
        assert_eq!(sums(&served, &ingest, &three).await.unwrap(), [3, 4, 5]);
    });
}

#[test]
fn a_pass_that_panics_fails_its_texts_and_no_others() {
    let served = served(2, 64);
    let query = ctx(Priority::Query);
    let error = block_on(sums(&served, &query, &[text(POISON, 3)])).unwrap_err();
    assert!(matches!(error, ModelError::Failed { .. }), "{error}");
    assert_eq!(block_on(sums(&served, &query, &[text(2, 3)])).unwrap(), [4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_call_gets_its_own_results_in_order_and_passes_keep_their_bound(
        calls in prop::collection::vec((0..3usize, prop::collection::vec((20..1_000u32, 1..50usize), 0..200)), 1..6),
    ) {
        let served = served(2, 100);
        let calls: Vec<(Ctx, Vec<Vec<u32>>)> = calls
            .into_iter()
            .map(|(level, texts)| {
                let priority = [Priority::Ingest, Priority::Rerank, Priority::Query][level];
                (ctx(priority), texts.into_iter().map(|(first, length)| text(first, length)).collect())
            })
            .collect();
        let given = block_on(join_all(calls.iter().map(|(ctx, texts)| sums(&served, ctx, texts))));
        for ((_, texts), given) in calls.iter().zip(given) {
            let expected: Vec<u32> = texts.iter().map(|ids| ids.iter().sum()).collect();
            prop_assert_eq!(given.unwrap(), expected);
        }
        let texts: usize = passes(&served).iter().map(Vec::len).sum();
        prop_assert_eq!(texts, calls.iter().map(|(_, texts)| texts.len()).sum::<usize>(), "each once");
        prop_assert!(served.shared.held.iter().all(|held| held.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn a_pass_is_the_oldest_text_and_those_nearest_to_it_that_fit(
        lengths in prop::collection::vec(1..300usize, 1..400), tokens_max in 1..1_000usize,
    ) {
        let places = nearest(&lengths, tokens_max);
        prop_assert_eq!(places[0], 0);
        prop_assert!(places.iter().all(|place| *place < WINDOW_TEXTS));
        let tokens: usize = places.iter().map(|place| lengths[*place]).sum();
        prop_assert!(tokens <= tokens_max || places.len() == 1);
        let distance = |place: &usize| lengths[*place].abs_diff(lengths[0]);
        let farthest = places.iter().map(distance).max().unwrap();
        let left_out = (0..lengths.len().min(WINDOW_TEXTS)).filter(|place| !places.contains(place));
        prop_assert!(left_out.map(|place| distance(&place)).all(|one| one >= farthest));
    }
}
