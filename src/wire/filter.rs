//! Conditions on metadata.

use ibid_core::{Compare, Filter};
use ibid_engine::Invalid;

use super::{text, value};
use crate::proto as pb;
use crate::proto::filter::Kind;

/// A condition, checked for size and sense.
pub(crate) fn filter(field: &str, given: pb::Filter) -> Result<Filter, Invalid> {
    let filter = parse(field, given, 1)?;
    filter.validate().map_err(|error| Invalid::new(field, error))?;
    Ok(filter)
}

fn parse(field: &str, given: pb::Filter, depth: usize) -> Result<Filter, Invalid> {
    // Checked on the way down: the field names that errors give must not grow without end.
    if depth > Filter::DEPTH_MAX {
        return Err(Invalid::new(field, format!("is more than {} levels deep", Filter::DEPTH_MAX)));
    }
    let list = |name: &str, list: pb::FilterList| {
        text::no_more_than(&format!("{field}.{name}.filters"), list.filters.len(), Filter::NODES_MAX)?;
        let inner = |(ordinal, inner)| parse(&format!("{field}.{name}.filters[{ordinal}]"), inner, depth + 1);
        list.filters.into_iter().enumerate().map(inner).collect::<Result<Vec<_>, _>>()
    };
    match given.kind {
        None => Err(Invalid::new(field, "has no kind set")),
        Some(Kind::And(all)) => Ok(Filter::And(list("and", all)?)),
        Some(Kind::Or(one)) => Ok(Filter::Or(list("or", one)?)),
        Some(Kind::Not(other)) => Ok(Filter::Not(Box::new(parse(&format!("{field}.not"), *other, depth + 1)?))),
        Some(Kind::Field(condition)) => condition_of(&format!("{field}.field"), condition),
    }
}

fn condition_of(field: &str, given: pb::FieldCondition) -> Result<Filter, Invalid> {
    text::at_most(&format!("{field}.field"), given.field.len(), value::FIELD_NAME_BYTES_MAX)?;
    text::no_more_than(&format!("{field}.values"), given.values.len(), Filter::VALUES_MAX)?;
    let op = compare(&format!("{field}.op"), given.op)?;
    let values = given.values.into_iter().enumerate();
    let values = values.map(|(ordinal, given)| value::value(&format!("{field}.values[{ordinal}]"), given));
    Ok(Filter::Field { field: given.field, op, values: values.collect::<Result<_, _>>()? })
}

fn compare(field: &str, number: i32) -> Result<Compare, Invalid> {
    match text::known(field, number)? {
        pb::CompareOp::Unspecified => Err(Invalid::new(field, "is not given")),
        pb::CompareOp::Eq => Ok(Compare::Eq),
        pb::CompareOp::Ne => Ok(Compare::Ne),
        pb::CompareOp::Lt => Ok(Compare::Lt),
        pb::CompareOp::Le => Ok(Compare::Le),
        pb::CompareOp::Gt => Ok(Compare::Gt),
        pb::CompareOp::Ge => Ok(Compare::Ge),
        pb::CompareOp::In => Ok(Compare::In),
        pb::CompareOp::Exists => Ok(Compare::Exists),
        pb::CompareOp::Prefix => Ok(Compare::Prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(op: pb::CompareOp, values: Vec<pb::Value>) -> pb::Filter {
        let field = pb::FieldCondition { field: "year".to_owned(), op: op.into(), values };
        pb::Filter { kind: Some(Kind::Field(field)) }
    }

    fn int(int: i64) -> pb::Value {
        value::render(ibid_core::Value::Int(int))
    }

    fn not(inner: pb::Filter) -> pb::Filter {
        pb::Filter { kind: Some(Kind::Not(Box::new(inner))) }
    }

    #[test]
    fn a_tree_keeps_its_shape() {
        let all = vec![condition(pb::CompareOp::Ge, vec![int(2020)]), not(condition(pb::CompareOp::Exists, vec![]))];
        let given = pb::Filter { kind: Some(Kind::And(pb::FilterList { filters: all })) };
        let field = |op, values| Filter::Field { field: "year".to_owned(), op, values };
        let expected = Filter::And(vec![
            field(Compare::Ge, vec![ibid_core::Value::Int(2020)]),
            Filter::Not(Box::new(field(Compare::Exists, vec![]))),
        ]);
        assert_eq!(filter("filter", given), Ok(expected));
    }

    #[track_caller]
    fn check(given: pb::Filter, expected: &str) {
        assert_eq!(filter("filter", given).unwrap_err().field, expected);
    }

    #[test]
    fn the_refused_place_is_named() {
        check(pb::Filter { kind: None }, "filter");
        check(not(pb::Filter { kind: None }), "filter.not");
        check(condition(pb::CompareOp::Unspecified, vec![int(1)]), "filter.field.op");
        check(condition(pb::CompareOp::Eq, vec![int(1), pb::Value { kind: None }]), "filter.field.values[1]");
        check(condition(pb::CompareOp::Eq, vec![]), "filter");
        check(condition(pb::CompareOp::In, vec![int(1); 1_001]), "filter.field.values");
        let wide = pb::FilterList { filters: vec![condition(pb::CompareOp::Exists, vec![]); 257] };
        check(pb::Filter { kind: Some(Kind::Or(wide)) }, "filter.or.filters");
        let deep = (0..16).fold(condition(pb::CompareOp::Exists, vec![]), |inner, _| not(inner));
        assert!(filter("filter", deep).is_err());
    }
}
