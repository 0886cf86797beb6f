//! Every script of the fake provider, in both wire formats, through the whole gateway: what the caller gets, how often the
//! provider was asked, what was paid, what the breaker thinks of it, and that nothing is left behind.

mod gates;
#[path = "upstream/upstream.rs"]
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use gates::{LONG, deployment, gateway_of, model, request};
use ibid_core::{CallRecord, FinishReason, Generate, Generated, ModelError};
use ibid_gateway::{
    Account, BreakerConfig, BreakerState, Ceiling, Ceilings, Microdollars, Prices, RetryConfig, Timeouts, Window,
};
use upstream::scripts::{Ended, Script, scripts};
use upstream::{End, Upstream, Wire};

const PRICES: Prices = Prices { input: 1_000_000, output: 2_000_000, cached: 500_000, cache_write: 1_000_000 };
const RETRY: RetryConfig = RetryConfig {
    retries_max: 2,
    pause: Duration::from_millis(2),
    pause_max: Duration::from_millis(4),
    retry_after_max: Duration::from_secs(1),
    share_max: 1.0,
    per_second_min: 100,
};
const BREAKER: BreakerConfig = BreakerConfig {
    window_calls: 3,
    calls_min: 3,
    failure_rate: 1.0,
    slow_rate: 1.0,
    slow_after: LONG,
    open_for: LONG,
    probes: 1,
};
const TIMEOUTS: Timeouts = Timeouts {
    connect: LONG,
    first_token: Duration::from_millis(200),
    between_tokens: Duration::from_millis(150),
    total: Duration::from_millis(1500),
};
const OVERLONG: &str = "a drip without an end";

#[derive(Debug)]
struct Outcome {
    text: String,
    record: Option<CallRecord>,
    ended: Result<FinishReason, ModelError>,
}

async fn collect(gateway: &impl Generate, ctx: &ibid_runtime::Ctx) -> Outcome {
    use futures::StreamExt;
    let (mut text, mut record, mut tool) = (String::new(), None, None::<(String, String)>);
    let mut stream = match gateway.generate(ctx, request()).await {
        Ok(stream) => stream,
        Err(error) => return Outcome { text, record, ended: Err(error) },
    };
    let mut usages = 0;
    let ended = loop {
        match stream.next().await.expect("a reply never ends in silence") {
            Ok(Generated::Delta(piece)) => {
                assert!(!piece.is_empty());
                text.push_str(&piece);
            }
            Ok(Generated::ToolCall(call)) => {
                let (name, arguments) = tool.get_or_insert_default();
                name.push_str(&call.name);
                arguments.push_str(&call.arguments);
            }
            Ok(Generated::Usage(_)) => usages += 1,
            Ok(Generated::Call(call)) => assert!(record.replace(*call).is_none(), "one record a call"),
            Ok(Generated::Done(reason)) => break Ok(reason),
            Err(error) => break Err(error),
        }
    };
    assert!(stream.next().await.is_none(), "nothing comes after the end");
    assert_eq!(usages, u32::from(ended.is_ok()));
    if let Some((name, arguments)) = tool {
        text.push_str(&format!("<tool {name} {arguments}>"));
    }
    Outcome { text, record, ended }
}

fn reason(end: End) -> FinishReason {
    match end {
        End::Stop => FinishReason::Stop,
        End::Length => FinishReason::Length,
        End::Filter => FinishReason::ContentFilter,
        End::Tool => FinishReason::ToolCalls,
    }
}

async fn play(script: Script) {
    let Script { name, wire, replies, text, ended, attempts, cost, opens, reported } = script;
    let what = format!("{wire:?}: {name}");
    let upstream = Upstream::start(replies).await;
    let mut one = deployment("far", wire, &upstream.base_url);
    (one.prices, one.retry, one.breaker, one.timeouts) = (PRICES, RETRY, BREAKER, TIMEOUTS);
    let ceiling = Ceiling { window: Window::Day, amount: Microdollars(1_000_000) };
    let ceilings = Ceilings { each_tenant: vec![ceiling], ..Ceilings::default() };
    let gateway = gateway_of(vec![model("far", vec![one])], |config| {
        config.attempts_max = 3;
        config.budget.ceilings = ceilings;
    });
    let ctx = gates::ctx(None);
    let outcome = tokio::time::timeout(LONG, collect(&gateway, &ctx)).await.unwrap_or_else(|_| panic!("{what} hangs"));

    let overlong = name == OVERLONG;
    assert!(
        outcome.text == text || overlong && outcome.text.starts_with(&text),
        "{what}: {:?}",
        &outcome.text[..outcome.text.len().min(200)]
    );
    match (&ended, &outcome.ended) {
        (Ended::Done(end), Ok(finish)) => assert_eq!(reason(*end), *finish, "{what}"),
        (Ended::Failed(variant, words), Err(error)) => {
            let shown = format!("{error:?}");
            assert!(shown.starts_with(variant) && shown.contains(words), "{what}: {shown}");
            assert!(!shown.contains("zebra") && !shown.contains(gates::KEY), "{what}: {shown}");
        }
        (expected, found) => panic!("{what}: {found:?}, expected {expected:?}"),
    }
    assert_eq!(upstream.requests().len(), attempts as usize, "{what}: requests at the provider");
    let (now, at_ms) = (ctx.clock().monotonic(), ctx.clock().unix_ms());
    let (spent, reserved) = gateway.spent(&Account::Tenant(request().tenant), Window::Day, at_ms);
    assert_eq!(reserved, Microdollars(0), "{what}: everything is settled");
    assert!(spent.0 == cost || overlong && spent.0 > cost, "{what}: {spent} settled, expected {cost}");
    let breaker = gateway.deployments(now).remove(0).breaker;
    assert_eq!(breaker == BreakerState::Open, opens, "{what}: {breaker:?}");
    // A failure before the first piece has no stream, so no record in it.
    let begun = outcome.ended.is_ok() || !outcome.text.is_empty();
    assert_eq!(outcome.record.is_some(), begun, "{what}");
    if let Some(record) = outcome.record {
        let known = (record.cost_microdollars, record.attempts, record.finish);
        assert_eq!(known, (spent.0, attempts, outcome.ended.clone().ok()), "{what}");
        assert!(record.first_token.is_some_and(|first| first <= record.total), "{what}");
        assert!(reported.is_none_or(|reported| reported == record.usage.reported), "{what}: {:?}", record.usage);
    }
}

#[test]
fn every_script_has_its_outcome_and_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all: Vec<Script> = [Wire::OpenAi, Wire::Anthropic].into_iter().flat_map(scripts).collect();
        let names: std::collections::BTreeSet<&str> = all.iter().map(|script| script.name).collect();
        assert!(names.len() >= 40, "{} different scripts", names.len());
        println!("{} scripts, {} runs", names.len(), all.len());
        for script in all {
            play(script).await;
        }
        // Connections notice that the other side is gone, and their tasks end.
        let metrics = tokio::runtime::Handle::current().metrics();
        let ended = async {
            while metrics.num_alive_tasks() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(5), ended).await;
        assert!(left.is_ok(), "{} tasks are left", metrics.num_alive_tasks());
    });
}

#[tokio::test]
async fn a_cancelled_call_pays_what_was_streamed() {
    use futures::StreamExt;
    for wire in [Wire::OpenAi, Wire::Anthropic] {
        let reply =
            upstream::Reply::stream().send(wire.start(10, 0)).send(wire.delta("12345678")).then(upstream::Step::Hang);
        let upstream = Upstream::start(vec![reply]).await;
        let mut one = deployment("far", wire, &upstream.base_url);
        one.prices = PRICES;
        let ceiling = Ceiling { window: Window::Day, amount: Microdollars(1_000_000) };
        let observer = Arc::new(gates::Ended::default());
        let watching: Arc<gates::Ended> = Arc::clone(&observer);
        let gateway = gates::gateway_with(vec![model("far", vec![one])], Some(watching), |config| {
            config.budget.ceilings.everybody = vec![ceiling];
        });
        let ctx = gates::ctx(None);
        let mut stream = gateway.generate(&ctx, request()).await.unwrap();
        assert_eq!(stream.next().await, Some(Ok(Generated::Delta("12345678".to_owned()))));
        let spent =
            |gateway: &ibid_gateway::Gateway| gateway.spent(&Account::Everybody, Window::Day, ctx.clock().unix_ms());
        assert!(spent(&gateway).1 > Microdollars(0), "the worst case is set aside while it runs");
        drop(stream);
        let read = if wire == Wire::OpenAi { 9 } else { 10 };
        assert_eq!(spent(&gateway), (Microdollars(read + 2 * 2), Microdollars(0)), "{wire:?}");
        tokio::time::timeout(LONG, upstream.hung_up(1)).await.expect("a dropped reply closes its connection");
        let ended = observer.take();
        assert_eq!(ended.len(), 1);
        assert_eq!((ended[0].0.cost_microdollars, ended[0].0.finish, &ended[0].1), (read + 4, None, &None));
    }
}
