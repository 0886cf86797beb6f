//! Scopes, bounds and time. How well questions are told apart is measured with the real embedder (`crates/infer`).

use ibid_core::{BoxFuture, ModelId};
use ibid_runtime::{ManualClock, Priority};
use proptest::prelude::*;

use super::*;

/// Directions by the letters of a text: equal texts are equal, and texts of like letters are near.
#[derive(Debug)]
struct Letters(ModelId);

impl Embed for Letters {
    fn model(&self) -> &ModelId {
        &self.0
    }
    fn revision(&self) -> &str {
        "1"
    }
    fn dimension(&self) -> usize {
        26
    }
    fn embed<'a>(
        &'a self,
        _: &'a Ctx,
        _: Purpose,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        let vector = |text: &String| {
            let mut vector = vec![0.0; 26];
            text.to_lowercase()
                .bytes()
                .filter(u8::is_ascii_lowercase)
                .for_each(|byte| vector[usize::from(byte - b'a')] += 1.0);
            vector
        };
        Box::pin(async move { Ok(texts.iter().map(vector).collect()) })
    }
}

const CONFIG: Config = Config {
    cosine_min: 0.9,
    ttl: Duration::from_secs(60),
    tenant_bytes_max: 100_000,
    bytes_max: 150_000,
    scope_entries_max: 100,
};

struct World {
    cache: SemanticCache<u32>,
    clock: Arc<ManualClock>,
    ctx: Ctx,
}

fn world(config: Config) -> World {
    let clock = Arc::new(ManualClock::at(0));
    let embedder = Arc::new(Letters(ModelId::new("letters").unwrap()));
    let cache = SemanticCache::new(config, embedder, clock.clone()).unwrap();
    World { cache, ctx: Ctx::new(clock.clone(), Priority::Query, None), clock }
}

impl World {
    fn ask(&self, question: &str) -> Asked {
        futures::executor::block_on(self.cache.ask(&self.ctx, question)).unwrap()
    }
    fn keep(&self, scope: Scope, question: &str, value: u32) {
        self.cache.keep(scope, &self.ask(question), value, 100);
    }
    fn find(&self, scope: Scope, question: &str) -> Option<u32> {
        match self.cache.find(scope, &self.ask(question)) {
            Found::Hit { value, .. } => Some(value),
            Found::Miss { .. } => None,
        }
    }
}

fn scope(tenant: u64, parts: &[&str]) -> Scope {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    Scope::new(TenantKey(tenant), &parts)
}

#[test]
fn an_answer_is_found_in_its_own_scope_alone() {
    let world = world(CONFIG);
    let here = scope(1, &["model", "p1", "staff", "g7"]);
    world.keep(here, "Where is the canteen?", 5);
    assert_eq!(world.find(here, "where's the canteen"), Some(5));
    for other in [
        scope(2, &["model", "p1", "staff", "g7"]),
        scope(1, &["model", "p2", "staff", "g7"]),
        scope(1, &["model", "p1", "guest", "g7"]),
        scope(1, &["model", "p1", "staff", "g8"]),
        scope(1, &["modelp1", "", "staff", "g7"]),
        scope(1, &["model", "p1", "staffg7"]),
    ] {
        assert_eq!(world.find(other, "Where is the canteen?"), None);
    }
}

#[test]
fn a_near_question_that_asks_something_else_is_refused_and_said_why() {
    let world = world(CONFIG);
    let here = scope(1, &[]);
    world.keep(here, "can I park here", 1);
    let found = world.cache.find(here, &world.ask("can't I park here"));
    assert!(
        matches!(found, Found::Miss { refused: Some(Difference::Negation), nearest: Some(cosine) } if cosine > 0.9)
    );
    // One that means the same is found behind the nearest.
    world.keep(here, "how can I not park here", 2);
    assert_eq!(world.find(here, "can I park here?"), Some(1));
    // Far questions are not compared at all.
    let far = world.cache.find(here, &world.ask("zzz"));
    assert!(matches!(far, Found::Miss { refused: None, nearest: Some(_) }));
}

#[test]
fn an_entry_ends_with_its_time_and_a_later_answer_replaces_an_earlier_one() {
    let world = world(CONFIG);
    let here = scope(1, &[]);
    world.keep(here, "what is new", 1);
    world.keep(here, "what is new", 2);
    assert_eq!((world.find(here, "what is new"), world.cache.entries()), (Some(2), 1));
    world.clock.advance(Duration::from_millis(59_999));
    assert_eq!(world.find(here, "what is new"), Some(2));
    world.clock.advance(Duration::from_millis(1));
    assert_eq!((world.find(here, "what is new"), world.cache.bytes()), (None, 0));
}

#[test]
fn a_tenant_makes_room_for_itself_and_never_costs_another_its_entries() {
    let world = world(Config { tenant_bytes_max: 4_000, bytes_max: 1_000_000, ..CONFIG });
    world.keep(scope(1, &[]), "what is mine", 1);
    for number in 0..100 {
        world.keep(scope(2, &[]), &format!("what about {number}"), number);
    }
    assert_eq!(world.find(scope(1, &[]), "what is mine"), Some(1));
    assert_eq!(world.find(scope(2, &[]), "what about 99"), Some(99));
    assert_eq!(world.find(scope(2, &[]), "what about 0"), None);
    world.cache.forget(TenantKey(2));
    assert_eq!(world.cache.entries(), 1);
    // Larger than a tenant may have.
    world.cache.keep(scope(1, &[]), &world.ask("large"), 3, 5_000);
    assert_eq!(world.find(scope(1, &[]), "what is mine"), Some(1));
}

#[test]
fn a_configuration_out_of_range_names_its_field() {
    let embedder = || Arc::new(Letters(ModelId::new("letters").unwrap()));
    for (config, field) in [
        (Config { cosine_min: 0.4, ..CONFIG }, "cosine_min"),
        (Config { cosine_min: f32::NAN, ..CONFIG }, "cosine_min"),
        (Config { ttl: Duration::ZERO, ..CONFIG }, "ttl"),
        (Config { tenant_bytes_max: 1, ..CONFIG }, "tenant_bytes_max"),
        (Config { bytes_max: 1, ..CONFIG }, "bytes_max"),
        (Config { scope_entries_max: 0, ..CONFIG }, "scope_entries_max"),
    ] {
        let error = SemanticCache::<u32>::new(config, embedder(), Arc::new(ManualClock::at(0))).unwrap_err();
        assert_eq!(error.field, field);
    }
}

#[test]
fn a_question_without_a_direction_is_an_error_and_not_a_panic() {
    let world = world(CONFIG);
    let error = futures::executor::block_on(world.cache.ask(&world.ctx, "123")).unwrap_err();
    assert!(matches!(error, ModelError::Failed { .. }));
}

proptest! {
    #[test]
    fn bounds_hold_whatever_is_kept(keeps in prop::collection::vec((0u64..3, 0u8..4, 0u32..30, 0usize..3_000), 0..80)) {
        let config = Config { tenant_bytes_max: 6_000, bytes_max: 10_000, scope_entries_max: 5, ..CONFIG };
        let world = world(config);
        for (tenant, part, question, bytes) in keeps {
            let scope = Scope::new(TenantKey(tenant), &[&[part]]);
            world.cache.keep(scope, &world.ask(&format!("question about {question}")), question, bytes);
            prop_assert!(world.cache.bytes() <= config.bytes_max);
            let state = world.cache.lock();
            prop_assert!(state.tenants.values().all(|tenant| tenant.bytes <= config.tenant_bytes_max));
            prop_assert!(state.scopes.values().all(|entries| entries.len() <= config.scope_entries_max));
            prop_assert_eq!(state.entries.values().map(|entry| entry.bytes).sum::<usize>(), state.bytes);
        }
    }
}
