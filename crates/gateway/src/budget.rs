//! The layer that spends: before the first attempt the most that the call can cost is set aside, at its end what it did
//! cost is settled, however it ended.

mod book;
mod journal;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use ibid_core::{Generated, GenerationStream, ModelError};
use ibid_runtime::Disk;
use tower::{Layer, Service, ServiceExt};

use crate::bill::Bill;
use crate::call::{Answer, Call, Door, always_ready};
use crate::failure::{Failure, Kind};
use crate::policy::Live;
use crate::table::Table;
use crate::{GatewayError, Microdollars};

pub use book::{Account, Alert, Ceiling, Ceilings, Window};
use book::{Book, Refusal, Reservation};
use journal::Journal;

/// The longest name of a feature that is told from others.
const FEATURE_BYTES_MAX: usize = 64;

/// What may be spent.
#[derive(Debug, Clone, Default)]
pub struct BudgetConfig {
    /// By whom and in what time.
    pub ceilings: Ceilings,
    /// The folder of the journal; `None` keeps the book in memory only, and a restart forgets what was spent.
    pub folder: Option<PathBuf>,
}

/// Hears of money. Called on the thread that spent it: quick, or it hands the alert on.
pub trait Alerts: Send + Sync + Debug {
    /// A share of a ceiling was spent.
    fn alert(&self, alert: &Alert);
}

/// The book, and where it is kept.
#[derive(Debug)]
pub(crate) struct Budget {
    ceilings: Live<Ceilings>,
    book: Arc<Mutex<Book>>,
    journal: Option<Journal>,
    alerts: Option<Arc<dyn Alerts>>,
}

impl Budget {
    /// Opens the journal. What was set aside when the process died counts as spent.
    ///
    /// # Errors
    /// [`GatewayError::Journal`].
    pub(crate) fn open(
        config: BudgetConfig,
        disk: Arc<dyn Disk>,
        alerts: Option<Arc<dyn Alerts>>,
    ) -> Result<Budget, GatewayError> {
        let BudgetConfig { ceilings, folder } = config;
        let mut told = Vec::new();
        let (book, journal) = match folder {
            None => (Arc::default(), None),
            Some(folder) => {
                let failed = |source| GatewayError::Journal { source };
                let mut found = Journal::read(&*disk, &folder).map_err(failed)?;
                let unsettled = found.book.settle_all(&ceilings, &mut told);
                if unsettled > 0 {
                    tracing::warn!(
                        unsettled,
                        "calls were under way at a crash; what was set aside for them counts as spent"
                    );
                }
                if found.damaged_middle {
                    let bytes = found.damaged_bytes;
                    tracing::error!(bytes, "the journal of budgets is damaged; some of what was spent is not known");
                }
                let book = Arc::new(Mutex::new(found.book));
                let journal = Journal::start(disk, &folder, Arc::clone(&book)).map_err(failed)?;
                (book, Some(journal))
            }
        };
        let budget = Budget { ceilings: Live::new(ceilings), book, journal, alerts };
        budget.tell(&told);
        Ok(budget)
    }

    /// Other ceilings from now on; what was spent stays spent.
    pub(crate) fn set_ceilings(&self, ceilings: Ceilings) {
        self.ceilings.set(ceilings);
    }

    /// What was spent, and what is set aside for calls under way, in the window that `at_ms` lies in.
    pub(crate) fn spent(&self, account: &Account, window: Window, at_ms: u64) -> (Microdollars, Microdollars) {
        self.lock().spent(account, window, at_ms)
    }

    async fn reserve(&self, call: &Call, amount: Microdollars) -> Result<u64, Failure> {
        let request = &call.request;
        let mut feature = request.caller.feature.clone();
        let end = (0..=FEATURE_BYTES_MAX.min(feature.len())).rev().find(|end| feature.is_char_boundary(*end));
        feature.truncate(end.unwrap_or(0));
        let (at_ms, tenant, key) = (call.ctx.clock().unix_ms(), request.tenant, request.caller.key);
        let asked = Reservation { id: 0, at_ms, tenant, key, feature, amount };
        let (ceilings, mut told) = (self.ceilings.get(), Vec::new());
        let reserved = {
            let mut book = self.lock();
            let reserved = book.reserve(&ceilings, asked, &mut told);
            // Under the lock: the journal's order is the book's.
            reserved.map(|one| (one.id, self.journal.as_ref().map(|journal| journal.reserved(one))))
        };
        self.tell(&told);
        let (id, durable) = reserved.map_err(|refusal| over_budget(call, amount, &refusal))?;
        // Whoever leaves while this waits gives the money back.
        let mut held = Held { budget: self, id: Some(id) };
        if let Some(durable) = durable
            && !durable.await.unwrap_or(false)
        {
            let detail = "what it may spend cannot be written down; look at the disk of the data folder";
            return Err(Failure::unavailable(Kind::Ours, &call.model, detail));
        }
        held.id = None;
        Ok(id)
    }

    fn settle(&self, id: u64, actual: Microdollars) {
        let (ceilings, mut told) = (self.ceilings.get(), Vec::new());
        {
            let mut book = self.lock();
            book.settle(&ceilings, id, actual, &mut told);
            self.journal.iter().for_each(|journal| journal.settled(id, actual));
        }
        self.tell(&told);
    }

    fn tell(&self, told: &[Alert]) {
        for alert in told {
            let Alert { percent, window, spent, ceiling, .. } = alert;
            tracing::warn!(percent, window = window.as_str(), %spent, %ceiling, "a budget is being spent");
            self.alerts.iter().for_each(|alerts| alerts.alert(alert));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reservation that is not known to be durable.
struct Held<'a> {
    budget: &'a Budget,
    id: Option<u64>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.id.into_iter().for_each(|id| self.budget.settle(id, Microdollars(0)));
    }
}

fn over_budget(call: &Call, amount: Microdollars, refusal: &Refusal) -> Failure {
    let whose = match refusal.account {
        Account::Everybody => "the installation's",
        Account::Tenant(_) => "the tenant's",
        Account::Key(_) => "the key's",
        Account::Feature(_) => "the feature's",
    };
    let window = refusal.window.as_str();
    let detail = format!("it may cost {amount}, which is more than is left of {whose} ceiling per {window}");
    let retry_after = Some(Duration::from_millis(refusal.resets_in_ms));
    let error = ModelError::OverBudget { model: call.model.to_string(), detail, retry_after };
    Failure { kind: Kind::OverBudget, error, retry_after }
}

/// Sets money aside and settles it.
#[derive(Debug, Clone)]
pub(crate) struct BudgetLayer {
    pub(crate) table: Arc<Table>,
    pub(crate) budget: Arc<Budget>,
}

#[derive(Debug, Clone)]
pub(crate) struct BudgetService<S> {
    layer: BudgetLayer,
    inner: S,
}

impl<S> Layer<S> for BudgetLayer {
    type Service = BudgetService<S>;
    fn layer(&self, inner: S) -> BudgetService<S> {
        BudgetService { layer: self.clone(), inner }
    }
}

/// Settles once, at the latest when it is dropped.
struct Settlement {
    budget: Arc<Budget>,
    bill: Arc<Bill>,
    /// `None` for a call that can cost nothing.
    id: Option<u64>,
}

impl Settlement {
    fn settle(&mut self) -> Microdollars {
        let actual = self.bill.cost();
        if let Some(id) = self.id.take() {
            self.budget.settle(id, actual);
        }
        actual
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.settle();
    }
}

impl<S: Door> Service<Call> for BudgetService<S> {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let BudgetLayer { table, budget } = self.layer.clone();
        Box::pin(async move {
            let amount = table.cost_max(&call)?;
            let id = if amount > Microdollars(0) { Some(budget.reserve(&call, amount).await?) } else { None };
            let bill = Arc::clone(&call.bill);
            let mut settlement = Settlement { budget, bill: Arc::clone(&bill), id };
            let stream = inner.oneshot(call).await?;
            let settle = move |mut piece: Result<Generated, ModelError>| {
                if let Ok(Generated::Call(record)) = &mut piece {
                    // It is the last but one: nothing is used any more.
                    record.cost_microdollars = settlement.settle().0;
                    record.attempts = bill.attempts();
                }
                piece
            };
            Ok(stream.map(settle).boxed())
        })
    }
}
