//! Metadata values, their types, and pieces of text.

use std::collections::BTreeMap;
use std::ops::Range;

use ibid_core::{Bounds, Metadata, Place, Span, Value, ValueType};
use ibid_engine::Invalid;

use super::{text, time};
use crate::proto as pb;
use crate::proto::value::Kind;

const TEXT_BYTES_MAX: usize = 4_096;
const TEXTS_MAX: usize = 256;
const FIELDS_MAX: usize = 64;
/// The longest name of a metadata field.
pub(crate) const FIELD_NAME_BYTES_MAX: usize = 128;

/// One value.
pub(crate) fn value(field: &str, value: pb::Value) -> Result<Value, Invalid> {
    match value.kind {
        None => Err(Invalid::new(field, "has no kind set")),
        Some(Kind::StringValue(string)) => Ok(Value::Str(text::bounded(field, string, TEXT_BYTES_MAX)?)),
        Some(Kind::IntValue(int)) => Ok(Value::Int(int)),
        Some(Kind::FloatValue(float)) if float.is_nan() => Err(Invalid::new(field, "is NaN, expected a number")),
        Some(Kind::FloatValue(float)) => Ok(Value::Float(float)),
        Some(Kind::BoolValue(bool)) => Ok(Value::Bool(bool)),
        Some(Kind::TimestampValue(timestamp)) => Ok(Value::TimestampMs(time::unix_ms(field, timestamp)?)),
        Some(Kind::StringList(list)) => {
            text::no_more_than(field, list.values.len(), TEXTS_MAX)?;
            list.values.iter().try_for_each(|text| text::at_most(field, text.len(), TEXT_BYTES_MAX))?;
            Ok(Value::Strs(list.values))
        }
    }
}

/// Metadata by field name.
pub(crate) fn metadata(field: &str, values: BTreeMap<String, pb::Value>) -> Result<Metadata, Invalid> {
    field_names(field, values.keys())?;
    let named = |(name, given)| Ok((String::clone(&name), value(&format!("{field}[{name}]"), given)?));
    values.into_iter().map(named).collect()
}

/// The types of metadata fields.
pub(crate) fn schema(field: &str, types: BTreeMap<String, i32>) -> Result<BTreeMap<String, ValueType>, Invalid> {
    field_names(field, types.keys())?;
    let named = |(name, number)| Ok((String::clone(&name), value_type(&format!("{field}[{name}]"), number)?));
    types.into_iter().map(named).collect()
}

fn field_names<'a>(field: &str, names: impl ExactSizeIterator<Item = &'a String>) -> Result<(), Invalid> {
    text::no_more_than(field, names.len(), FIELDS_MAX)?;
    for name in names {
        if name.is_empty() {
            return Err(Invalid::new(field, "has a field without a name"));
        }
        // The name itself may be huge: it is not part of the message.
        text::at_most(&format!("{field}: a field's name"), name.len(), FIELD_NAME_BYTES_MAX)?;
    }
    Ok(())
}

fn value_type(field: &str, number: i32) -> Result<ValueType, Invalid> {
    match text::known(field, number)? {
        pb::ValueType::Unspecified => Err(Invalid::new(field, "is not given")),
        pb::ValueType::String => Ok(ValueType::Str),
        pb::ValueType::Int => Ok(ValueType::Int),
        pb::ValueType::Float => Ok(ValueType::Float),
        pb::ValueType::Bool => Ok(ValueType::Bool),
        pb::ValueType::Timestamp => Ok(ValueType::TimestampMs),
        pb::ValueType::StringList => Ok(ValueType::Strs),
    }
}

/// The bytes of a piece, half open. Whether the text has them is the engine's question.
pub(crate) fn span(field: &str, span: Option<pb::Span>) -> Result<Range<usize>, Invalid> {
    let span = span.ok_or_else(|| Invalid::new(field, "is missing"))?;
    Ok(span.start_byte as usize..span.end_byte as usize)
}

pub(crate) fn render(value: Value) -> pb::Value {
    let kind = match value {
        Value::Str(text) => Kind::StringValue(text),
        Value::Int(int) => Kind::IntValue(int),
        Value::Float(float) => Kind::FloatValue(float),
        Value::Bool(bool) => Kind::BoolValue(bool),
        Value::TimestampMs(ms) => Kind::TimestampValue(time::render(ms)),
        Value::Strs(values) => Kind::StringList(pb::StringList { values }),
    };
    pb::Value { kind: Some(kind) }
}

pub(crate) fn render_metadata(metadata: Metadata) -> BTreeMap<String, pb::Value> {
    metadata.into_iter().map(|(name, value)| (name, render(value))).collect()
}

pub(crate) fn render_schema(types: BTreeMap<String, ValueType>) -> BTreeMap<String, i32> {
    let number = |value_type| match value_type {
        ValueType::Str => pb::ValueType::String,
        ValueType::Int => pb::ValueType::Int,
        ValueType::Float => pb::ValueType::Float,
        ValueType::Bool => pb::ValueType::Bool,
        ValueType::TimestampMs => pb::ValueType::Timestamp,
        ValueType::Strs => pb::ValueType::StringList,
    };
    types.into_iter().map(|(name, value_type)| (name, number(value_type).into())).collect()
}

pub(crate) fn render_span(span: Span) -> pb::Span {
    pb::Span { start_byte: span.start(), end_byte: span.end() }
}

/// A place in the original.
pub(crate) fn render_place(place: Place) -> pb::Place {
    use pb::place::Place as Rendered;
    let rendered = match place {
        Place::Page { page, bounds } => {
            let Bounds { left, top, right, bottom } = bounds;
            Rendered::Page(pb::PagePlace { page, left, top, right, bottom })
        }
        Place::Slide { slide } => Rendered::Slide(slide),
        Place::Rows { sheet, first, last } => Rendered::Rows(pb::RowsPlace { sheet, first, last }),
        Place::Pointer(pointer) => Rendered::Pointer(pointer),
        Place::Part { name } => Rendered::Part(name),
    };
    pb::Place { place: Some(rendered) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_way_in_and_out() {
        let metadata = Metadata::from([
            ("text".to_owned(), Value::Str("ä".to_owned())),
            ("int".to_owned(), Value::Int(i64::MIN)),
            ("float".to_owned(), Value::Float(-0.5)),
            ("bool".to_owned(), Value::Bool(true)),
            ("time".to_owned(), Value::TimestampMs(-1)),
            ("texts".to_owned(), Value::Strs(vec![String::new()])),
        ]);
        assert_eq!(super::metadata("metadata", render_metadata(metadata.clone())), Ok(metadata.clone()));
        let types = metadata.into_iter().map(|(name, value)| (name, value.value_type())).collect::<BTreeMap<_, _>>();
        assert_eq!(schema("schema", render_schema(types.clone())), Ok(types));
    }

    #[test]
    fn a_refused_value_is_named() {
        let refused = |name: &str, kind| {
            let values = BTreeMap::from([(name.to_owned(), pb::Value { kind })]);
            metadata("metadata", values).unwrap_err().field
        };
        assert_eq!(refused("a", None), "metadata[a]");
        assert_eq!(refused("a", Some(Kind::FloatValue(f64::NAN))), "metadata[a]");
        assert_eq!(refused("a", Some(Kind::StringValue("x".repeat(4_097)))), "metadata[a]");
        let list = |values| Some(Kind::StringList(pb::StringList { values }));
        assert_eq!(refused("a", list(vec![String::new(); 257])), "metadata[a]");
        assert_eq!(refused("a", list(vec!["x".repeat(4_097)])), "metadata[a]");
        let never = prost_types::Timestamp { seconds: 0, nanos: -1 };
        assert_eq!(refused("a", Some(Kind::TimestampValue(never))), "metadata[a]");
        assert_eq!(refused("", Some(Kind::IntValue(1))), "metadata");
        assert_eq!(refused(&"x".repeat(129), Some(Kind::IntValue(1))), "metadata: a field's name");
        assert_eq!(schema("s", BTreeMap::from([("a".to_owned(), 0)])).unwrap_err().field, "s[a]");
        assert_eq!(schema("s", BTreeMap::from([("a".to_owned(), 99)])).unwrap_err().field, "s[a]");
    }
}
