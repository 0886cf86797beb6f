//! Who may use which model, where: allow-lists, bans (the kill switch) and residency. Swapped whole, while calls run.

use std::sync::{Arc, PoisonError, RwLock};

use ibid_core::{GenerateRequest, TenantKey};

/// The rules; every one that fits a call counts, so the order says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// What holds for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose calls; `None` for everybody's.
    pub tenant: Option<TenantKey>,
    /// Which feature's calls; `None` for all.
    pub feature: Option<String>,
    /// What holds for them.
    pub says: Says,
}

/// What a rule says. Names are public names of models or names of deployments; `*` is every one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// Only these may be used.
    Allow(Vec<String>),
    /// These may not be used.
    Ban(Vec<String>),
    /// Only deployments of these regions may be used.
    Regions(Vec<String>),
}

const EVERY: &str = "*";

impl Policy {
    /// Why `model` may not be used at all for `request`; `None` if it may.
    pub(crate) fn refusal(&self, request: &GenerateRequest, model: &str) -> Option<&'static str> {
        self.of(request).find_map(|says| match says {
            // A list that names a deployment allows its model as far as that goes; `admits` looks at each.
            Says::Ban(names) if names_it(names, &[model]) => Some("a rule bans it"),
            Says::Allow(_) | Says::Ban(_) | Says::Regions(_) => None,
        })
    }

    /// Whether `deployment` of `model`, in `region`, may be used for `request`.
    pub(crate) fn admits(&self, request: &GenerateRequest, model: &str, deployment: &str, region: &str) -> bool {
        self.of(request).all(|says| match says {
            Says::Allow(names) => names_it(names, &[model, deployment]),
            Says::Ban(names) => !names_it(names, &[model, deployment]),
            Says::Regions(regions) => regions.iter().any(|allowed| allowed == region),
        })
    }

    /// Every name that a rule gives, but `*`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let named = self.rules.iter().flat_map(|rule| match &rule.says {
            Says::Allow(names) | Says::Ban(names) => names.as_slice(),
            Says::Regions(_) => &[],
        });
        named.map(String::as_str).filter(|name| *name != EVERY)
    }

    fn of<'a>(&'a self, request: &'a GenerateRequest) -> impl Iterator<Item = &'a Says> {
        let fits = move |rule: &&Rule| {
            rule.tenant.is_none_or(|tenant| tenant == request.tenant)
                && rule.feature.as_ref().is_none_or(|feature| *feature == request.caller.feature)
        };
        self.rules.iter().filter(fits).map(|rule| &rule.says)
    }
}

fn names_it(names: &[String], known: &[&str]) -> bool {
    names.iter().any(|name| name == EVERY || known.contains(&name.as_str()))
}

/// A value that is replaced whole while others read it.
#[derive(Debug)]
pub(crate) struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    pub(crate) fn new(value: T) -> Live<T> {
        Live(RwLock::new(Arc::new(value)))
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::request;

    fn rule(tenant: Option<u64>, feature: Option<&str>, says: Says) -> Rule {
        Rule { tenant: tenant.map(TenantKey), feature: feature.map(str::to_owned), says }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[track_caller]
    fn check(rules: Vec<Rule>, expected: [bool; 3]) {
        let mut request = request("?");
        request.caller.feature = "answer".to_owned();
        let policy = Policy { rules };
        let admits = [("a", "a-us", "us"), ("a", "a-eu", "eu"), ("b", "b", "")]
            .map(|(model, deployment, region)| policy.admits(&request, model, deployment, region));
        assert_eq!(admits, expected, "of a-us, a-eu, b: {policy:?}");
    }

    #[test]
    fn every_rule_that_fits_counts() {
        check(vec![], [true, true, true]);
        check(vec![rule(None, None, Says::Allow(names(&["a"])))], [true, true, false]);
        check(vec![rule(None, None, Says::Ban(names(&["a-us"])))], [false, true, true]);
        check(vec![rule(Some(1), None, Says::Ban(names(&["*"])))], [false, false, false]);
        check(vec![rule(Some(2), None, Says::Ban(names(&["*"])))], [true, true, true]);
        check(vec![rule(None, Some("answer"), Says::Ban(names(&["b"])))], [true, true, false]);
        check(vec![rule(None, Some("judge"), Says::Ban(names(&["b"])))], [true, true, true]);
        check(vec![rule(None, None, Says::Regions(names(&["eu"])))], [false, true, false]);
        let allow = rule(None, None, Says::Allow(names(&["*"])));
        check(vec![allow, rule(None, None, Says::Ban(names(&["a"])))], [false, false, true]);
    }
}
