//! Money: a thousand calls at once on one dollar, providers that fail, a process that dies in the middle.

mod gates;
#[path = "upstream/upstream.rs"]
mod upstream;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use gates::{LONG, config, deployment, model, parts, request};
use ibid_core::{Generate, ModelError};
use ibid_gateway::{
    Account, Alert, Alerts, BudgetConfig, Ceiling, Ceilings, Gateway, GatewayParts, Microdollars, ModelConfig, Prices,
    RetryConfig, Window,
};
use ibid_runtime::{Clock, Disk, MemoryDisk, RealDisk, SeededRandom, SystemClock, start_thread};
use tokio::task::JoinSet;
use upstream::{End, Reply, Step, Upstream, Wire};

/// $1.00
const DOLLAR: u64 = 1_000_000;
/// A token read is 100 millionths of a dollar, one written 200.
const PRICES: Prices =
    Prices { input: 100_000_000, output: 200_000_000, cached: 100_000_000, cache_write: 100_000_000 };
const RETRY: RetryConfig = RetryConfig {
    retries_max: 1,
    pause: Duration::from_millis(1),
    pause_max: Duration::from_millis(1),
    retry_after_max: Duration::ZERO,
    share_max: 10.0,
    per_second_min: 1_000,
};

/// A provider that fails half of the time, and writes down what it charges: 9 tokens for the prompt it has read, and a
/// token for each 4 bytes it has written.
async fn flaky(charged: Arc<AtomicU64>) -> Upstream {
    let wire = Wire::OpenAi;
    let begun = Reply::stream().send(wire.start(9, 0)).send(wire.delta("12345678"));
    Upstream::start_with(move |number| {
        let (cost, reply) = match number % 6 {
            0 => (0, Reply::status(500, vec![], "")),
            1 => (0, Reply::status(429, vec![], "")),
            2 => (9 * 100 + 2 * 200, begun.clone().then(Step::Cut)),
            3 => (9 * 100 + 2 * 200, begun.clone().send(wire.finish(End::Stop))),
            _ => (9 * 100 + 5 * 200, begun.clone().send(wire.delta("123456789012")).send(wire.end(End::Stop, 9, 5))),
        };
        charged.fetch_add(cost, Ordering::SeqCst);
        reply
    })
    .await
}

/// Two deployments and a fallback, all at the same provider.
fn models(base_url: &str) -> Vec<ModelConfig> {
    let one = |name: &str| {
        let mut one = deployment(name, Wire::OpenAi, base_url);
        (one.prices, one.retry) = (PRICES, RETRY);
        one
    };
    let mut asked = model("asked", vec![one("first"), one("second")]);
    asked.fallbacks = vec!["other".to_owned()];
    vec![asked, model("other", vec![one("third")])]
}

fn open(base_url: &str, disk: Arc<dyn Disk>, alerts: Option<Arc<dyn Alerts>>, folder: &Path) -> Gateway {
    let ceiling = Ceiling { window: Window::Month, amount: Microdollars(DOLLAR) };
    let ceilings = Ceilings { each_tenant: vec![ceiling], ..Ceilings::default() };
    let mut config = config(models(base_url));
    config.attempts_max = 4;
    config.budget = BudgetConfig { ceilings, folder: Some(folder.to_owned()) };
    Gateway::new(config, GatewayParts { disk, alerts, ..parts() }).unwrap()
}

/// Spent and set aside.
fn spent(gateway: &Gateway) -> (u64, u64) {
    let (spent, reserved) =
        gateway.spent(&Account::Tenant(request().tenant), Window::Month, SystemClock::new().unix_ms());
    (spent.0, reserved.0)
}

/// The most that one call can cost: 4 attempts of 82 tokens read and 8 written.
const WORST: u64 = 4 * (82 * 100 + 8 * 200);

/// Asks until it is answered, at most `patience` times or until the dollar is spent; whether it was. A call that finds no
/// money left asks again a little later: others may settle.
async fn ask(gateway: Arc<Gateway>, number: usize, patience: u32) -> bool {
    for _ in 0..patience {
        let ctx = gates::ctx(None);
        // Who wants chance wants it for itself: no two calls are one.
        let asked = ibid_core::GenerateRequest { temperature: 0.5, tokens_max: 8, ..request() };
        let mut stream = match gateway.generate(&ctx, asked).await {
            Ok(stream) => stream,
            Err(ModelError::OverBudget { retry_after, .. }) => {
                assert!(retry_after.is_some());
                if spent(&gateway).0 > DOLLAR - WORST {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(10 + number as u64 % 40)).await;
                continue;
            }
            Err(_) => continue,
        };
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(ibid_core::Generated::Done(_)) => return true,
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    false
}

/// Asks `calls` times at once; how many were answered. Dropping it gives all of them up.
async fn ask_all(gateway: &Arc<Gateway>, calls: usize, patience: u32) -> usize {
    let mut all = JoinSet::new();
    (0..calls).for_each(|number| drop(all.spawn(ask(Arc::clone(gateway), number, patience))));
    all.join_all().await.into_iter().filter(|answered| *answered).count()
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<Alert>>);

impl Alerts for Told {
    fn alert(&self, alert: &Alert) {
        self.0.lock().unwrap().push(alert.clone());
    }
}

#[tokio::test]
async fn a_thousand_calls_at_once_never_spend_more_than_a_dollar() {
    let (charged, told) = (Arc::<AtomicU64>::default(), Arc::<Told>::default());
    let upstream = flaky(Arc::clone(&charged)).await;
    let folder = PathBuf::from("budget");
    let gateway = Arc::new(open(
        &upstream.base_url,
        Arc::new(MemoryDisk::new()),
        Some(Arc::clone(&told) as Arc<dyn Alerts>),
        &folder,
    ));
    // Callers on threads of their own: what is atomic here must be so without a runtime's help.
    let answered = Arc::<AtomicUsize>::default();
    let callers: Vec<_> = (0..4)
        .map(|number| {
            let (gateway, answered) = (Arc::clone(&gateway), Arc::clone(&answered));
            let work = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let asked = runtime.block_on(ask_all(&gateway, 250, u32::MAX));
                answered.fetch_add(asked, Ordering::SeqCst);
            };
            start_thread(&format!("callers-{number}"), work).unwrap()
        })
        .collect();
    let mut most = 0;
    while !callers.iter().all(std::thread::JoinHandle::is_finished) {
        let (spent, reserved) = spent(&gateway);
        most = most.max(spent + reserved);
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    let answered = answered.load(Ordering::SeqCst);

    let ((spent, reserved), charged) = (spent(&gateway), charged.load(Ordering::SeqCst));
    println!("{answered} of 1000 answered, {} requests, {spent} spent, {charged} charged", upstream.requests().len());
    assert_eq!(reserved, 0, "everything is settled");
    assert!(0 < most && most <= DOLLAR, "{most}: at any time spent and set aside are within the ceiling");
    assert_eq!(spent, charged, "what is settled is what the provider charges, to the millionth");
    assert!((DOLLAR - WORST..=DOLLAR).contains(&spent), "{spent}: the dollar is used");
    let mut percents: Vec<u8> = told.0.lock().unwrap().iter().map(|alert| alert.percent).collect();
    percents.dedup();
    assert_eq!(percents, [50, 80, 100]);
}

#[tokio::test]
async fn a_crash_in_the_middle_forgets_nothing_that_was_spent() {
    for seed in 0..6 {
        let charged = Arc::<AtomicU64>::default();
        let upstream = flaky(Arc::clone(&charged)).await;
        let (disk, folder) = (MemoryDisk::new(), PathBuf::from("budget"));
        for round in 0..3_u64 {
            let gateway = Arc::new(open(&upstream.base_url, Arc::new(disk.clone()), None, &folder));
            let (before, reserved) = spent(&gateway);
            assert_eq!(reserved, 0);
            let charged = charged.load(Ordering::SeqCst);
            println!("seed {seed}, round {round}: {before} counted, {charged} charged");
            assert!(charged <= before, "seed {seed}, round {round}: {before} counted, {charged} charged");
            let calls = tokio::spawn({
                let gateway = Arc::clone(&gateway);
                // Few at once: what is under way at a crash counts in full, and the dollar is to last.
                async move {
                    loop {
                        ask_all(&gateway, 3, 1).await;
                    }
                }
            });
            let seen = upstream.requests().len();
            while upstream.requests().len() < seen + 10 + 3 * seed as usize {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The process dies, or the power fails with it: whatever it does from here on reaches no disk.
            disk.switch_off();
            calls.abort();
            let _ = calls.await;
            while Arc::strong_count(&gateway) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(gateway);
            match seed % 3 {
                0 => disk.kill(),
                1 => disk.power_cut(),
                _ => disk.power_cut_with(&SeededRandom::new(seed + round)),
            }
        }
        let gateway = Arc::new(open(&upstream.base_url, Arc::new(disk.clone()), None, &folder));
        // Calls that were under way at a crash have closed their connections by now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        ask_all(&gateway, 300, u32::MAX).await;
        let (spent, charged) = (spent(&gateway).0, charged.load(Ordering::SeqCst));
        println!("seed {seed}: {spent} counted, {charged} charged");
        assert!(charged <= spent && spent <= DOLLAR, "seed {seed}: {charged} charged, {spent} counted");
        assert!(charged > 0);
    }
}

/// Where the child of the next test finds the provider and the folder.
const CHILD: &str = "IBID_TEST_BUDGET_CHILD";

/// Not a test: the process that the next one kills.
#[tokio::test]
async fn child() {
    let Some(place) = std::env::var_os(CHILD) else { return };
    let place = place.into_string().unwrap();
    let (base_url, folder) = place.split_once(' ').unwrap();
    let gateway = Arc::new(open(base_url, Arc::new(RealDisk), None, Path::new(folder)));
    loop {
        ask_all(&gateway, 2, 1).await;
    }
}

#[tokio::test]
async fn a_process_that_is_killed_forgets_nothing_that_was_spent() {
    let charged = Arc::<AtomicU64>::default();
    let upstream = flaky(Arc::clone(&charged)).await;
    let folder = tempfile::tempdir().unwrap();
    let place = format!("{} {}", upstream.base_url, folder.path().display());
    for round in 1..=3 {
        let seen = upstream.requests().len();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, &place)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let busy = async {
            while upstream.requests().len() < seen + 20 {
                assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, busy).await.expect("the child asks");
        // SIGKILL
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had sent is read by now.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let gateway = open(&upstream.base_url, Arc::new(RealDisk), None, folder.path());
        let ((spent, reserved), charged) = (spent(&gateway), charged.load(Ordering::SeqCst));
        println!("round {round}: {spent} counted, {charged} charged");
        assert_eq!(reserved, 0);
        assert!(
            charged > 0 && charged <= spent && spent <= DOLLAR,
            "round {round}: {charged} charged, {spent} counted"
        );
    }
}

#[tokio::test]
async fn a_disk_that_fails_refuses_calls_that_cost_money_until_it_is_back() {
    let upstream = flaky(Arc::default()).await;
    let (disk, folder) = (MemoryDisk::new(), PathBuf::from("budget"));
    let gateway = Arc::new(open(&upstream.base_url, Arc::new(disk.clone()), None, &folder));
    let ctx = gates::ctx(None);
    for fault in
        [ibid_runtime::Fault::SyncFails(0), ibid_runtime::Fault::WriteTorn(0), ibid_runtime::Fault::DiskFull(0)]
    {
        // What was settled last is written by now: the fault is for what comes.
        tokio::time::sleep(Duration::from_millis(100)).await;
        disk.inject(fault);
        let seen = upstream.requests().len();
        let refused = gateway.generate(&ctx, request()).await.map(drop);
        assert!(
            matches!(&refused, Err(ModelError::Unavailable { detail, .. }) if detail.contains("disk")),
            "{refused:?}"
        );
        assert_eq!((upstream.requests().len(), spent(&gateway).1), (seen, 0), "nobody was asked, nothing is set aside");
        assert!(ask(Arc::clone(&gateway), 0, 20).await, "the disk is back");
    }
    let (known, _) = spent(&gateway);
    drop(gateway);
    disk.power_cut();
    assert_eq!(spent(&open(&upstream.base_url, Arc::new(disk), None, &folder)), (known, 0));
}
