use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use futures::executor::block_on;
use futures::future::join_all;

use super::*;
use crate::{ManualClock, SystemClock};

const SOON: Duration = Duration::from_secs(20);

fn ctx(priority: Priority) -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()), priority, None)
}

/// Starts a job and returns once a lane has it.
async fn started<F: Future>(pool: &Pool, job: F) -> Pin<Box<F>> {
    let mut job = Box::pin(job);
    assert!(futures::poll!(&mut job).is_pending());
    while pool.shared.queue().levels.iter().any(|level| !level.waiting.is_empty()) {
        std::thread::yield_now();
    }
    job
}

#[test]
fn a_panic_is_an_error_and_the_pool_goes_on() {
    let pool = Pool::new(2, 8).unwrap();
    let panicked = block_on(pool.run(&ctx(Priority::Query), || panic!("boom")));
    assert!(matches!(panicked, Err::<(), _>(PoolError::Panicked { message }) if message == "boom"));
    assert_eq!(block_on(pool.run(&ctx(Priority::Query), || 1)).unwrap(), 1);
}

#[test]
fn a_question_overtakes_documents_and_ingest_leaves_a_lane() {
    let pool = Pool::new(2, 64).unwrap();
    let (release, wait) = mpsc::channel::<()>();
    let ingest = ctx(Priority::Ingest);
    let blocked = pool.run(&ingest, move || wait.recv_timeout(SOON).is_ok());
    let behind = pool.run(&ingest, || ());
    let query = ctx(Priority::Query);
    let answered = async {
        let one = pool.run(&query, || 42).await.unwrap();
        release.send(()).unwrap();
        one
    };
    let (freed, _, answer) = block_on(async { futures::join!(blocked, behind, answered) });
    assert!(freed.unwrap(), "the question ran while a document held a lane");
    assert_eq!(answer, 42);
}

#[test]
fn a_job_in_parts_makes_way_for_its_betters_one_at_a_time() {
    let pool = Pool::new(1, 64).unwrap();
    let (release, wait) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let (ingest, query, rerank) = (ctx(Priority::Ingest), ctx(Priority::Query), ctx(Priority::Rerank));
    let say = |what: &'static str| {
        let tell = tell.clone();
        move || tell.send(what).unwrap()
    };
    let (first, second) = (say("part"), say("part"));
    let in_parts = pool.run_in_parts(&ingest, move |lane| {
        assert_eq!(lane.threads(), 1);
        wait.recv_timeout(SOON).unwrap();
        first();
        lane.make_way();
        second();
        lane.make_way();
    });
    let others = async {
        let (behind, lower) = (pool.run(&ingest, say("next document")), pool.run(&rerank, say("rerank")));
        let (one, two) = (pool.run(&query, say("question")), pool.run(&query, say("question")));
        let start = async { release.send(()).unwrap() };
        futures::join!(behind, lower, one, two, start)
    };
    block_on(async { futures::join!(started(&pool, in_parts).await, others) }).0.unwrap();
    let order: Vec<&str> = told.try_iter().collect();
    assert_eq!(order, ["part", "question", "part", "question", "rerank", "next document"]);
}

#[test]
fn documents_go_on_however_many_questions_come() {
    #[track_caller]
    fn check(waited: Duration, expected: &[Priority]) {
        let clock = Arc::new(ManualClock::at(0));
        let ctx = |priority| Ctx::new(clock.clone(), priority, None);
        let pool = Pool::new(1, 64).unwrap();
        let (release, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let first = ctx(Priority::Query);
        let running = pool.run(&first, move || wait.recv_timeout(SOON).unwrap());
        let waiting = [Priority::Query, Priority::Ingest, Priority::Query, Priority::Rerank, Priority::Ingest];
        let contexts = waiting.map(ctx);
        let jobs = contexts.iter().map(|ctx| {
            let (tell, priority) = (tell.clone(), ctx.priority());
            pool.run(ctx, move || tell.send(priority).unwrap())
        });
        let start = async {
            clock.advance(waited);
            release.send(()).unwrap();
        };
        block_on(async { futures::join!(started(&pool, running).await, join_all(jobs), start) }).0.unwrap();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
    }
    use Priority::{Ingest, Query, Rerank};
    check(PATIENCE - Duration::from_millis(1), &[Query, Query, Rerank, Ingest, Ingest]);
    check(PATIENCE, &[Ingest, Rerank, Query, Query, Ingest]);
}

#[test]
fn a_question_alone_has_all_threads_and_what_is_below_waits_for_it() {
    let pool = Pool::new(2, 64).unwrap();
    let (query, ingest) = (ctx(Priority::Query), ctx(Priority::Ingest));
    let threads = |lane: &Lane<'_>| lane.threads();
    assert_eq!(block_on(pool.run_in_parts(&query, threads)).unwrap(), 2);

    let (release, wait) = mpsc::channel::<()>();
    let below_ran = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&below_ran);
    let alone = pool.run_in_parts(&query, move |lane| {
        assert_eq!(lane.threads(), 2);
        wait.recv_timeout(SOON).unwrap();
        seen.load(Ordering::Relaxed)
    });
    let below = pool.run_in_parts(&ingest, move |_| below_ran.store(true, Ordering::Relaxed));
    let beside = async {
        // It gets a thread, beside the first.
        let threads = pool.run_in_parts(&query, threads).await.unwrap();
        release.send(()).unwrap();
        threads
    };
    let (early, below, beside) = block_on(async { futures::join!(started(&pool, alone).await, below, beside) });
    below.unwrap();
    assert!(!early.unwrap());
    assert_eq!(beside, 1);
}

#[test]
fn a_rerank_alone_has_all_threads_and_questions_run_within_it() {
    let pool = Pool::new(2, 64).unwrap();
    let (query, rerank) = (ctx(Priority::Query), ctx(Priority::Rerank));
    let (release, wait) = mpsc::channel::<()>();
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let alone = pool.run_in_parts(&rerank, move |lane| {
        assert_eq!(lane.threads(), 2);
        wait.recv_timeout(SOON).unwrap();
        let early = seen.load(Ordering::Relaxed);
        lane.make_way();
        (early, seen.load(Ordering::Relaxed))
    });
    let question = pool.run(&query, move || asked.store(true, Ordering::Relaxed));
    let start = async { release.send(()).unwrap() };
    let (alone, _, ()) = block_on(async { futures::join!(started(&pool, alone).await, question, start) });
    assert_eq!(alone.unwrap(), (false, true));
}

#[test]
fn what_is_late_is_not_started_and_what_is_too_much_is_refused() {
    let clock = Arc::new(ManualClock::at(0));
    let late = Ctx::new(clock, Priority::Query, Some(Duration::ZERO));
    let pool = Pool::new(1, 0).unwrap();
    assert!(matches!(block_on(pool.run(&late, || ())), Err(PoolError::Stopped(Stopped::Deadline))));
    assert!(matches!(block_on(pool.run(&ctx(Priority::Query), || ())), Err(PoolError::Full { .. })));
}
