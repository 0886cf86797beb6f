//! What was spent and what is promised, by whose account it is and by window of time. Pure: no clock, no disk.

use std::collections::{BTreeMap, HashMap};

use ibid_core::{KeyId, TenantKey};
use serde::{Deserialize, Serialize};

use crate::Microdollars;

/// Who pays a call: one account of each kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Account {
    /// All calls of the installation.
    Everybody,
    /// A tenant's calls.
    Tenant(TenantKey),
    /// A key's calls.
    Key(KeyId),
    /// A feature's calls, all tenants together.
    Feature(String),
}

/// The time a ceiling is for. Hours, days and months are those of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Window {
    /// The last 60 minutes, whenever one looks: the breaker for money that runs away.
    Rolling,
    /// The hour.
    Hour,
    /// The day.
    Day,
    /// The month.
    Month,
}

impl Window {
    const ALL: [Window; 4] = [Window::Rolling, Window::Hour, Window::Day, Window::Month];

    /// The number of the period that `at_ms` lies in, counted up.
    fn period(self, at_ms: u64) -> u64 {
        match self {
            Window::Rolling => at_ms / MINUTE_MS,
            Window::Hour => at_ms / HOUR_MS,
            Window::Day => at_ms / DAY_MS,
            Window::Month => month(at_ms / DAY_MS).0,
        }
    }

    /// How many periods count at once.
    fn periods(self) -> u64 {
        match self {
            Window::Rolling => 60,
            Window::Hour | Window::Day | Window::Month => 1,
        }
    }

    /// Milliseconds until the oldest period that counts at `at_ms` no longer does, if it is `oldest`.
    fn resets_in_ms(self, oldest: u64, at_ms: u64) -> u64 {
        let end = match self {
            Window::Rolling => (oldest + 60) * MINUTE_MS,
            Window::Hour => (oldest + 1) * HOUR_MS,
            Window::Day => (oldest + 1) * DAY_MS,
            Window::Month => month(at_ms / DAY_MS).1 * DAY_MS,
        };
        end.saturating_sub(at_ms)
    }

    /// What texts call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Window::Rolling => "60 minutes",
            Window::Hour => "hour",
            Window::Day => "day",
            Window::Month => "month",
        }
    }
}

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The month that a day since 1970-01-01 lies in, counted from year 0, and the first day of the next one (Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
fn month(day: u64) -> (u64, u64) {
    let since = day + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March.
    let shifted = (5 * of_year + 2) / 153;
    let first_of_next = (153 * (shifted + 1) + 2) / 5;
    let year = era * 400 + year_of_era;
    // The year of this count ends with February, whose last day is the year's last.
    let days_of_year = 365
        + u64::from(
            (year + 1).is_multiple_of(4) && (!(year + 1).is_multiple_of(100) || (year + 1).is_multiple_of(400)),
        );
    let next = day + if shifted == 11 { days_of_year } else { first_of_next } - of_year;
    (year * 12 + shifted, next)
}

/// Ceilings, by whom they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// For all calls together.
    pub everybody: Vec<Ceiling>,
    /// For each tenant that is not named below.
    pub each_tenant: Vec<Ceiling>,
    /// Tenants with ceilings of their own.
    pub tenants: HashMap<TenantKey, Vec<Ceiling>>,
    /// For each key that is not named below.
    pub each_key: Vec<Ceiling>,
    /// Keys with ceilings of their own.
    pub keys: HashMap<KeyId, Vec<Ceiling>>,
    /// For features, all tenants together.
    pub features: HashMap<String, Vec<Ceiling>>,
}

/// The most that may be spent in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// The time.
    pub window: Window,
    /// The money.
    pub amount: Microdollars,
}

impl Ceilings {
    fn of(&self, account: &Account) -> &[Ceiling] {
        match account {
            Account::Everybody => &self.everybody,
            Account::Tenant(tenant) => self.tenants.get(tenant).unwrap_or(&self.each_tenant),
            Account::Key(key) => self.keys.get(key).unwrap_or(&self.each_key),
            Account::Feature(feature) => self.features.get(feature).map_or(&[], Vec::as_slice),
        }
    }
}

/// Money that a call may spend, set aside before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reservation {
    pub(crate) id: u64,
    pub(crate) at_ms: u64,
    pub(crate) tenant: TenantKey,
    pub(crate) key: Option<KeyId>,
    pub(crate) feature: String,
    pub(crate) amount: Microdollars,
}

impl Reservation {
    fn accounts(&self) -> impl Iterator<Item = Account> {
        let key = self.key.map(Account::Key);
        let feature = (!self.feature.is_empty()).then(|| Account::Feature(self.feature.clone()));
        [Account::Everybody, Account::Tenant(self.tenant)].into_iter().chain(key).chain(feature)
    }
}

/// A share of a ceiling was spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Whose ceiling.
    pub account: Account,
    /// For what time.
    pub window: Window,
    /// 50, 80 or 100; 100 also says that a call was refused.
    pub percent: u8,
    /// What was spent in the window.
    pub spent: Microdollars,
    /// The ceiling.
    pub ceiling: Microdollars,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Why nothing was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) account: Account,
    pub(crate) window: Window,
    pub(crate) resets_in_ms: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Total {
    /// Money by period, ascending; those that no longer count go when a later one comes.
    periods: BTreeMap<u64, Money>,
    /// The highest share that was told, and in which period.
    told: Option<(u64, u8)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Money {
    spent: Microdollars,
    reserved: Microdollars,
}

impl Total {
    fn forget_before(&mut self, window: Window, period: u64) {
        self.periods = self.periods.split_off(&(period + 1).saturating_sub(window.periods()));
    }

    fn sum(&self) -> Money {
        self.periods.values().fold(Money::default(), |sum, money| Money {
            spent: sum.spent + money.spent,
            reserved: sum.reserved + money.reserved,
        })
    }
}

/// All accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Book {
    totals: BTreeMap<(Account, Window), Total>,
    open: BTreeMap<u64, Reservation>,
    next_id: u64,
    /// Time does not go back here, or a clock that is set back would open what is spent.
    now_ms: u64,
}

impl Book {
    /// Sets `amount` aside on every account that pays, or on none. Also what is to be told.
    pub(crate) fn reserve(
        &mut self,
        ceilings: &Ceilings,
        mut asked: Reservation,
        alerts: &mut Vec<Alert>,
    ) -> Result<Reservation, Refusal> {
        self.now_ms = self.now_ms.max(asked.at_ms);
        asked.at_ms = self.now_ms;
        asked.id = self.next_id;
        for account in asked.accounts() {
            for Ceiling { window, amount } in ceilings.of(&account) {
                let period = window.period(asked.at_ms);
                let Some(total) = self.total(&account, *window, period) else {
                    if asked.amount > *amount {
                        let resets_in_ms = window.resets_in_ms(period, asked.at_ms);
                        return Err(Refusal { account, window: *window, resets_in_ms });
                    }
                    continue;
                };
                let Money { spent, reserved } = total.sum();
                if spent + reserved + asked.amount <= *amount {
                    continue;
                }
                let oldest = total.periods.keys().next().copied().unwrap_or(period);
                // What others have set aside may come back; what was spent does not.
                if spent.0 > 0 && spent + asked.amount > *amount {
                    tell(total, &account, (*window, *amount), 100, period, asked.at_ms, alerts);
                }
                let resets_in_ms = window.resets_in_ms(oldest, asked.at_ms);
                return Err(Refusal { account, window: *window, resets_in_ms });
            }
        }
        self.put(asked.clone());
        Ok(asked)
    }

    /// Sets aside what was set aside before: replays a journal. One that is known already changes nothing.
    pub(crate) fn put(&mut self, reservation: Reservation) {
        if reservation.id < self.next_id {
            return;
        }
        self.next_id = reservation.id + 1;
        self.now_ms = self.now_ms.max(reservation.at_ms);
        for account in reservation.accounts() {
            for window in Window::ALL {
                let period = window.period(reservation.at_ms);
                let total = self.totals.entry((account.clone(), window)).or_default();
                total.forget_before(window, period);
                let money = total.periods.entry(period).or_default();
                money.reserved = money.reserved + reservation.amount;
            }
        }
        self.open.insert(reservation.id, reservation);
    }

    /// The call of this reservation has ended, and has cost `actual`. One that is not open changes nothing.
    pub(crate) fn settle(&mut self, ceilings: &Ceilings, id: u64, actual: Microdollars, alerts: &mut Vec<Alert>) {
        let Some(reservation) = self.open.remove(&id) else { return };
        for account in reservation.accounts() {
            for window in Window::ALL {
                let period = window.period(reservation.at_ms);
                // A period that no longer counts is not there any more.
                let total = self.totals.get_mut(&(account.clone(), window));
                if let Some(money) = total.and_then(|total| total.periods.get_mut(&period)) {
                    money.reserved = money.reserved.saturating_sub(reservation.amount);
                    money.spent = money.spent + actual;
                }
            }
            for ceiling in ceilings.of(&account) {
                self.look(&account, ceiling, alerts);
            }
        }
    }

    /// After a crash: what was set aside and not settled counts as spent, for nobody knows what became of it.
    pub(crate) fn settle_all(&mut self, ceilings: &Ceilings, alerts: &mut Vec<Alert>) -> usize {
        let open: Vec<(u64, Microdollars)> = self.open.values().map(|one| (one.id, one.amount)).collect();
        open.iter().for_each(|(id, amount)| self.settle(ceilings, *id, *amount, alerts));
        open.len()
    }

    /// What was spent and what is set aside in the window that `at_ms` lies in.
    pub(crate) fn spent(&self, account: &Account, window: Window, at_ms: u64) -> (Microdollars, Microdollars) {
        let period = window.period(at_ms.max(self.now_ms));
        let from = (period + 1).saturating_sub(window.periods());
        let total = self.totals.get(&(account.clone(), window));
        let counts = total.into_iter().flat_map(|total| total.periods.range(from..));
        counts
            .fold(Default::default(), |(spent, reserved), (_, money)| (spent + money.spent, reserved + money.reserved))
    }

    /// Forgets accounts whose every period is over.
    pub(crate) fn compact(&mut self) {
        let now_ms = self.now_ms;
        self.totals.retain(|(_, window), total| {
            total.forget_before(*window, window.period(now_ms));
            !total.periods.is_empty()
        });
    }

    fn total(&mut self, account: &Account, window: Window, period: u64) -> Option<&mut Total> {
        let total = self.totals.get_mut(&(account.clone(), window))?;
        total.forget_before(window, period);
        Some(total)
    }

    fn look(&mut self, account: &Account, ceiling: &Ceiling, alerts: &mut Vec<Alert>) {
        let (at_ms, window) = (self.now_ms, ceiling.window);
        let period = window.period(at_ms);
        let Some(total) = self.total(account, window, period) else { return };
        let spent = total.sum().spent;
        let reached = |percent: u8| u128::from(spent.0) * 100 >= u128::from(ceiling.amount.0) * u128::from(percent);
        let Some(percent) = [100, 80, 50].into_iter().find(|percent| reached(*percent)) else {
            // A rolling window may fill again.
            total.told = None;
            return;
        };
        tell(total, account, (window, ceiling.amount), percent, period, at_ms, alerts);
    }
}

fn tell(
    total: &mut Total,
    account: &Account,
    (window, ceiling): (Window, Microdollars),
    percent: u8,
    period: u64,
    at_ms: u64,
    alerts: &mut Vec<Alert>,
) {
    let same_window = |told: u64| window == Window::Rolling || told == period;
    if total.told.is_some_and(|(told, known)| same_window(told) && known >= percent) {
        return;
    }
    total.told = Some((period, percent));
    let spent = total.sum().spent;
    alerts.push(Alert { account: account.clone(), window, percent, spent, ceiling, at_ms });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-02-28 23:30:00 UTC.
    const FEBRUARY: u64 = 1_772_321_400_000;

    fn asked(at_ms: u64, amount: u64) -> Reservation {
        let (tenant, key) = (TenantKey(1), Some(KeyId(2)));
        Reservation { id: 0, at_ms, tenant, key, feature: "answer".to_owned(), amount: Microdollars(amount) }
    }

    fn of_tenants(window: Window, amount: u64) -> Ceilings {
        Ceilings { each_tenant: vec![Ceiling { window, amount: Microdollars(amount) }], ..Ceilings::default() }
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let day = |ms: u64| ms / DAY_MS;
        let (february, march) = (month(day(FEBRUARY)), month(day(FEBRUARY) + 1));
        assert_eq!(february.1, day(FEBRUARY) + 1);
        assert_eq!((march.0, march.1), (february.0 + 1, day(FEBRUARY) + 32));
        // 2024-02-28 is followed by a 29th, and 2023-12-31 by another year.
        assert_eq!(month(19_781).1, 19_783);
        assert_eq!((month(19_722).1, month(19_723).0), (19_723, month(19_722).0 + 1));
        let mut days = 0..40_000_u64;
        assert!(days.all(|day| month(day).1 > day && (month(day + 1).0 == month(day).0) == (month(day).1 != day + 1)));
    }

    #[test]
    fn a_window_that_is_over_is_spent_anew() {
        for (window, minutes) in [(Window::Hour, 30), (Window::Day, 30), (Window::Month, 30), (Window::Rolling, 60)] {
            let (ceilings, mut book, mut alerts) = (of_tenants(window, 10), Book::default(), Vec::new());
            let first = book.reserve(&ceilings, asked(FEBRUARY, 6), &mut alerts).unwrap();
            book.settle(&ceilings, first.id, Microdollars(6), &mut alerts);
            let refused = book.reserve(&ceilings, asked(FEBRUARY, 5), &mut alerts).unwrap_err();
            assert_eq!((refused.window, refused.resets_in_ms), (window, minutes * MINUTE_MS));
            let later = FEBRUARY + minutes * MINUTE_MS;
            assert!(book.reserve(&ceilings, asked(later - 1, 5), &mut alerts).is_err(), "{window:?}");
            assert!(book.reserve(&ceilings, asked(later, 5), &mut alerts).is_ok(), "{window:?}");
            assert!(book.reserve(&ceilings, asked(FEBRUARY, 6), &mut alerts).is_err(), "time does not go back");
            let percents: Vec<u8> = alerts.iter().map(|alert| alert.percent).collect();
            assert_eq!(percents, [50, 100]);
        }
    }

    #[test]
    fn every_account_that_pays_has_its_ceiling() {
        let ceiling = |amount| vec![Ceiling { window: Window::Day, amount: Microdollars(amount) }];
        let empty = Ceilings::default();
        for ceilings in [
            Ceilings { everybody: ceiling(9), ..empty.clone() },
            Ceilings {
                tenants: HashMap::from([(TenantKey(1), ceiling(9))]),
                each_tenant: ceiling(99),
                ..empty.clone()
            },
            Ceilings { keys: HashMap::from([(KeyId(2), ceiling(9))]), ..empty.clone() },
            Ceilings { features: HashMap::from([("answer".to_owned(), ceiling(9))]), ..empty.clone() },
        ] {
            let mut book = Book::default();
            assert!(book.reserve(&ceilings, asked(1, 9), &mut Vec::new()).is_ok());
            assert!(book.reserve(&ceilings, asked(1, 1), &mut Vec::new()).is_err(), "{ceilings:?}");
        }
    }

    #[test]
    fn each_share_is_told_once() {
        let (ceilings, mut book, mut alerts) = (of_tenants(Window::Day, 100), Book::default(), Vec::new());
        for _ in 0..10 {
            let one = book.reserve(&ceilings, asked(1, 10), &mut alerts).unwrap();
            book.settle(&ceilings, one.id, Microdollars(10), &mut alerts);
        }
        let told: Vec<(u8, u64)> = alerts.iter().map(|alert| (alert.percent, alert.spent.0)).collect();
        assert_eq!(told, [(50, 50), (80, 80), (100, 100)]);
    }

    proptest! {
        #[test]
        fn whatever_happens_no_ceiling_is_passed(
            steps in prop::collection::vec((0_u64..40, 0_u64..3_600_000, any::<bool>(), 0_u64..=100), 1..80),
        ) {
            let ceilings = of_tenants(Window::Rolling, 100);
            let (mut book, mut at_ms, mut open) = (Book::default(), FEBRUARY, Vec::new());
            // What really happened: when, and how much at most.
            let mut charges: Vec<(u64, u64, u64)> = Vec::new();
            for (amount, pause, settles, share) in steps {
                at_ms += pause;
                if let Ok(one) = book.reserve(&ceilings, asked(at_ms, amount), &mut Vec::new()) {
                    charges.push((one.id, at_ms, amount));
                    open.push(one);
                }
                if settles && let Some(one) = open.pop() {
                    let actual = one.amount.0 * share / 100;
                    book.settle(&ceilings, one.id, Microdollars(actual), &mut Vec::new());
                    charges.iter_mut().filter(|charge| charge.0 == one.id).for_each(|charge| charge.2 = actual);
                }
                let minute = at_ms / MINUTE_MS;
                let counted = charges.iter().filter(|charge| charge.1 / MINUTE_MS + 60 > minute);
                let sum: u64 = counted.map(|charge| charge.2).sum();
                prop_assert!(sum <= 100);
                let (spent, reserved) = book.spent(&Account::Tenant(TenantKey(1)), Window::Rolling, at_ms);
                prop_assert_eq!(spent.0 + reserved.0, sum);
            }
        }
    }
}
