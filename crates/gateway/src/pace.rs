//! How long a call may take.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use ibid_runtime::Ctx;

use crate::failure::{Failure, Kind};

/// A stop flag has nobody to wake, so a wait looks at it this often.
const STOP_TICK: Duration = Duration::from_millis(50);

/// Waits for `future` as long as somebody waits for it.
///
/// # Errors
/// [`Kind::Stopped`] when the caller has left (noticed within 50 ms) or its deadline has passed.
pub(crate) async fn unless_stopped<T>(ctx: &Ctx, future: impl Future<Output = T>) -> Result<T, Failure> {
    let mut future = pin!(future);
    loop {
        ctx.check()?;
        let left = ctx.left().unwrap_or(Duration::MAX).min(STOP_TICK);
        if let Ok(done) = tokio::time::timeout(left, &mut future).await {
            return Ok(done);
        }
    }
}

/// The limits of one call, each counted from where its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The longest wait for a connection.
    pub connect: Duration,
    /// From the request to the first event of the reply, connecting included.
    pub first_token: Duration,
    /// From one event to the next; comments and pings that keep the connection alive do not count.
    pub between_tokens: Duration,
    /// From the request to the last event.
    pub total: Duration,
}

/// The time left to one call, by the request's own clock.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    model: String,
    ctx: Ctx,
    limits: Timeouts,
    total_end: Duration,
    next_end: Duration,
    next: &'static str,
    next_limit: Duration,
}

impl Pace {
    /// The call of `model` starts now.
    pub(crate) fn start(model: &str, ctx: &Ctx, limits: Timeouts) -> Pace {
        let now = ctx.clock().monotonic();
        Pace {
            model: model.to_owned(),
            ctx: ctx.clone(),
            limits,
            total_end: now.saturating_add(limits.total),
            next_end: now.saturating_add(limits.first_token),
            next: "first token",
            next_limit: limits.first_token,
        }
    }

    /// Whose time it is.
    pub(crate) fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// An event has come: the time to the next one starts now.
    pub(crate) fn event(&mut self) {
        self.next_end = self.ctx.clock().monotonic().saturating_add(self.limits.between_tokens);
        self.next = "next token";
        self.next_limit = self.limits.between_tokens;
    }

    /// Waits for `future` as long as the call may take.
    ///
    /// # Errors
    /// [`Kind::Stopped`] when the caller has left (noticed within 50 ms) or its deadline has passed; [`Kind::Late`] when
    /// one of the limits has.
    pub(crate) async fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        let mut future = pin!(future);
        loop {
            self.ctx.check()?;
            let now = self.ctx.clock().monotonic();
            let late = |what, limit: Duration| {
                Failure::unavailable(Kind::Late, &self.model, format!("no {what} within {} ms", limit.as_millis()))
            };
            if now >= self.total_end {
                return Err(late("end of the reply", self.limits.total));
            }
            if now >= self.next_end {
                return Err(late(self.next, self.next_limit));
            }
            let limit = self.total_end.min(self.next_end).saturating_sub(now);
            let left = self.ctx.left().unwrap_or(Duration::MAX).min(limit).min(STOP_TICK);
            if let Ok(done) = tokio::time::timeout(left, &mut future).await {
                return Ok(done);
            }
        }
    }
}
