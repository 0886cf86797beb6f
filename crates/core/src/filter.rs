//! A condition on metadata, as a tree.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::{Metadata, Value};

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compare {
    /// Equal to the one value.
    Eq,
    /// There, and not equal to the one value.
    Ne,
    /// Below the one value.
    Lt,
    /// Below or equal.
    Le,
    /// Above the one value.
    Gt,
    /// Above or equal.
    Ge,
    /// Equal to one of the values.
    In,
    /// The field is there, whatever its value.
    Exists,
    /// A text that starts with the one value, a text.
    Prefix,
}

/// A condition that holds, or not, for a document's metadata. A field that is missing, or of another type than the value,
/// fulfils no comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// All hold. With none inside, it holds.
    And(Vec<Filter>),
    /// One holds. With none inside, it does not.
    Or(Vec<Filter>),
    /// The other does not hold.
    Not(Box<Filter>),
    /// A comparison of one field.
    Field {
        /// The field's name.
        field: String,
        /// How it is compared.
        op: Compare,
        /// What it is compared with.
        values: Vec<Value>,
    },
}

/// Why a filter was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Too deep or too large.
    #[error("has more than {max} {what}")]
    TooLarge {
        /// The limit.
        max: usize,
        /// What was counted.
        what: &'static str,
    },
    /// A field without a name.
    #[error("names no field")]
    NoField,
    /// The wrong number of values.
    #[error("compares {field:?} with {given} values, expected {expected}")]
    Values {
        /// The field.
        field: String,
        /// How many were given.
        given: usize,
        /// What is expected.
        expected: &'static str,
    },
    /// A value the comparison cannot use.
    #[error("compares {field:?} with {found}, expected {expected}")]
    Type {
        /// The field.
        field: String,
        /// What was given.
        found: &'static str,
        /// What is expected.
        expected: &'static str,
    },
}

impl Filter {
    /// How deep a filter may be.
    pub const DEPTH_MAX: usize = 16;
    /// How many conditions a filter may have.
    pub const NODES_MAX: usize = 256;
    /// How many values one comparison may have.
    pub const VALUES_MAX: usize = 1_000;

    /// Checks sizes, and each comparison's number and types of values.
    ///
    /// # Errors
    /// [`FilterError`], the first one found.
    pub fn validate(&self) -> Result<(), FilterError> {
        let mut nodes = 0;
        self.validate_at(0, &mut nodes)
    }

    fn validate_at(&self, depth: usize, nodes: &mut usize) -> Result<(), FilterError> {
        if depth >= Filter::DEPTH_MAX {
            return Err(FilterError::TooLarge { max: Filter::DEPTH_MAX, what: "levels" });
        }
        *nodes += 1;
        if *nodes > Filter::NODES_MAX {
            return Err(FilterError::TooLarge { max: Filter::NODES_MAX, what: "conditions" });
        }
        match self {
            Filter::And(inner) | Filter::Or(inner) => {
                inner.iter().try_for_each(|one| one.validate_at(depth + 1, nodes))
            }
            Filter::Not(inner) => inner.validate_at(depth + 1, nodes),
            Filter::Field { field, op, values } => validate_field(field, *op, values),
        }
    }

    /// Whether the condition holds for `metadata`.
    pub fn matches(&self, metadata: &Metadata) -> bool {
        match self {
            Filter::And(inner) => inner.iter().all(|one| one.matches(metadata)),
            Filter::Or(inner) => inner.iter().any(|one| one.matches(metadata)),
            Filter::Not(inner) => !inner.matches(metadata),
            Filter::Field { field, op, values } => {
                metadata.get(field).is_some_and(|value| field_matches(value, *op, values))
            }
        }
    }
}

fn validate_field(field: &str, op: Compare, values: &[Value]) -> Result<(), FilterError> {
    if field.is_empty() {
        return Err(FilterError::NoField);
    }
    let wrong = |expected| FilterError::Values { field: field.to_owned(), given: values.len(), expected };
    match op {
        Compare::Exists if !values.is_empty() => return Err(wrong("none")),
        Compare::In if values.is_empty() || values.len() > Filter::VALUES_MAX => return Err(wrong("1 to 1000")),
        Compare::Exists | Compare::In => {}
        Compare::Eq | Compare::Ne | Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge | Compare::Prefix => {
            if values.len() != 1 {
                return Err(wrong("one"));
            }
        }
    }
    for value in values {
        let found = value.value_type().describe();
        let wrong = |expected| FilterError::Type { field: field.to_owned(), found, expected };
        match value {
            Value::Strs(_) => return Err(wrong("a single value")),
            Value::Float(number) if number.is_nan() => return Err(wrong("a number")),
            Value::Bool(_) if matches!(op, Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge) => {
                return Err(wrong("a value that has an order"));
            }
            Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::TimestampMs(_) if op == Compare::Prefix => {
                return Err(wrong("a string"));
            }
            Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::TimestampMs(_) => {}
        }
    }
    Ok(())
}

fn field_matches(value: &Value, op: Compare, values: &[Value]) -> bool {
    if op == Compare::Exists {
        return true;
    }
    if let Value::Strs(texts) = value {
        let holds = |op| texts.iter().any(|text| field_matches(&Value::Str(text.clone()), op, values));
        // A list is unequal to a value when none of its texts is equal to it.
        return if op == Compare::Ne { !holds(Compare::Eq) } else { holds(op) };
    }
    let Some(first) = values.first() else { return false };
    let order = compare(value, first);
    match op {
        Compare::Eq => order == Some(Ordering::Equal),
        Compare::Ne => order.is_some_and(Ordering::is_ne),
        Compare::Lt => order.is_some_and(Ordering::is_lt),
        Compare::Le => order.is_some_and(Ordering::is_le),
        Compare::Gt => order.is_some_and(Ordering::is_gt),
        Compare::Ge => order.is_some_and(Ordering::is_ge),
        Compare::In => values.iter().any(|one| compare(value, one) == Some(Ordering::Equal)),
        Compare::Prefix => matches!((value, first), (Value::Str(text), Value::Str(start)) if text.starts_with(start)),
        Compare::Exists => true,
    }
}

/// `None` if the two have no common scale.
#[allow(clippy::cast_precision_loss, reason = "an integer against a float is compared as floats, as clients expect")]
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) | (Value::TimestampMs(a), Value::TimestampMs(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Float(b)) => (*a as f64).partial_cmp(b),
        (Value::Float(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (
            Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::TimestampMs(_) | Value::Strs(_),
            Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::TimestampMs(_) | Value::Strs(_),
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(field: &str, op: Compare, values: &[Value]) -> Filter {
        Filter::Field { field: field.to_owned(), op, values: values.to_vec() }
    }

    #[track_caller]
    fn check(filter: Filter, expected: bool) {
        let metadata = Metadata::from([
            ("lang".to_owned(), Value::Str("de".to_owned())),
            ("year".to_owned(), Value::Int(2024)),
            ("tags".to_owned(), Value::Strs(vec!["red".to_owned(), "blue".to_owned()])),
            ("public".to_owned(), Value::Bool(true)),
        ]);
        filter.validate().unwrap();
        assert_eq!(filter.matches(&metadata), expected, "{filter:?}");
    }

    #[test]
    fn conditions_hold_as_a_reader_expects() {
        let text = |s: &str| Value::Str(s.to_owned());
        check(field("lang", Compare::Eq, &[text("de")]), true);
        check(field("lang", Compare::Prefix, &[text("d")]), true);
        check(field("lang", Compare::In, &[text("en"), text("de")]), true);
        check(field("year", Compare::Ge, &[Value::Float(2023.5)]), true);
        check(field("year", Compare::Lt, &[Value::Int(2024)]), false);
        check(field("year", Compare::Eq, &[text("2024")]), false);
        check(field("tags", Compare::Eq, &[text("blue")]), true);
        check(field("tags", Compare::Ne, &[text("blue")]), false);
        check(field("missing", Compare::Ne, &[text("x")]), false);
        check(field("missing", Compare::Exists, &[]), false);
        check(Filter::Not(Box::new(field("missing", Compare::Exists, &[]))), true);
        check(Filter::And(vec![]), true);
        check(Filter::Or(vec![]), false);
    }

    #[test]
    fn a_filter_that_means_nothing_is_refused() {
        let refused = |filter: Filter| filter.validate().unwrap_err().to_string();
        assert_eq!(refused(field("", Compare::Exists, &[])), "names no field");
        assert_eq!(refused(field("a", Compare::Eq, &[])), r#"compares "a" with 0 values, expected one"#);
        assert_eq!(
            refused(field("a", Compare::Prefix, &[Value::Int(1)])),
            r#"compares "a" with an integer, expected a string"#
        );
        let deep = (0..20).fold(Filter::And(vec![]), |inner, _| Filter::Not(Box::new(inner)));
        assert_eq!(refused(deep), "has more than 16 levels");
    }
}
