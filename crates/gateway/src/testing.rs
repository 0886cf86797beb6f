//! What the unit tests of several files need.

use std::sync::Arc;
use std::time::Duration;

use ibid_core::{
    CacheState, CallRecord, Caller, Fallback, FinishReason, GenerateRequest, Message, Origin, Role, TenantKey, Usage,
};

/// A question of tenant 1 without sources, of at most 64 tokens.
pub(crate) fn request(question: &str) -> GenerateRequest {
    GenerateRequest {
        tenant: TenantKey(1),
        caller: Caller::default(),
        origin: Origin::default(),
        generator: String::new(),
        messages: vec![Message { role: Role::User, content: question.to_owned() }],
        question: question.to_owned(),
        sources: Arc::new([]),
        tokens_max: 64,
        temperature: 0.0,
    }
}

/// A call of `model` that was answered.
pub(crate) fn record(model: &str) -> CallRecord {
    CallRecord {
        asked: model.to_owned(),
        model: model.to_owned(),
        fallback: Fallback::None,
        deployment: model.to_owned(),
        provider: "openai".to_owned(),
        usage: Usage { input_tokens: 10, cached_tokens: 0, output_tokens: 5, reported: true },
        cost_microdollars: 7,
        first_token: None,
        total: Duration::ZERO,
        finish: Some(FinishReason::Stop),
        attempts: 1,
        cache: CacheState::Bypass,
    }
}
