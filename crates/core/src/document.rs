//! A document as it is stored, its metadata and who may read it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ModelId;

/// How a document's bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaType {
    /// `text/markdown`
    Markdown,
    /// `text/plain`
    Plain,
}

impl MediaType {
    /// Reads a media type such as `text/markdown; charset=utf-8`. `None` for one that is not supported.
    pub fn parse(text: &str) -> Option<MediaType> {
        match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "text/markdown" | "text/x-markdown" => Some(MediaType::Markdown),
            "text/plain" => Some(MediaType::Plain),
            _ => None,
        }
    }

    /// The media type as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            MediaType::Markdown => "text/markdown",
            MediaType::Plain => "text/plain",
        }
    }
}

/// One metadata value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Text.
    Str(String),
    /// A whole number.
    Int(i64),
    /// A number; never NaN.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A point in time, milliseconds since the Unix epoch.
    TimestampMs(i64),
    /// Several texts; a condition holds if it holds for one of them.
    Strs(Vec<String>),
}

/// The type of a metadata value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueType {
    /// [`Value::Str`]
    Str,
    /// [`Value::Int`]
    Int,
    /// [`Value::Float`]
    Float,
    /// [`Value::Bool`]
    Bool,
    /// [`Value::TimestampMs`]
    TimestampMs,
    /// [`Value::Strs`]
    Strs,
}

impl Value {
    /// This value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Str(_) => ValueType::Str,
            Value::Int(_) => ValueType::Int,
            Value::Float(_) => ValueType::Float,
            Value::Bool(_) => ValueType::Bool,
            Value::TimestampMs(_) => ValueType::TimestampMs,
            Value::Strs(_) => ValueType::Strs,
        }
    }
}

impl ValueType {
    /// The type with its article, for messages.
    pub fn describe(self) -> &'static str {
        match self {
            ValueType::Str => "a string",
            ValueType::Int => "an integer",
            ValueType::Float => "a float",
            ValueType::Bool => "a bool",
            ValueType::TimestampMs => "a timestamp",
            ValueType::Strs => "a list of strings",
        }
    }
}

/// Metadata by field name.
pub type Metadata = BTreeMap<String, Value>;

/// Somebody who may read: a user, group or role, as the client names it.
pub type Principal = String;

/// Who may read a document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Readers(BTreeSet<Principal>);

impl Readers {
    /// Only these. None at all means everybody of the tenant.
    pub fn of(principals: impl IntoIterator<Item = Principal>) -> Readers {
        Readers(principals.into_iter().collect())
    }

    /// Whether everybody of the tenant may read.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// The principals named, sorted.
    pub fn principals(&self) -> &BTreeSet<Principal> {
        &self.0
    }
}

/// How far the texts of a collection are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// Written by the tenant.
    Trusted,
    /// Written by the tenant's users.
    UserSupplied,
    /// Fetched from the web.
    Web,
}

/// The language whose words are stemmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// English.
    English,
    /// German.
    German,
    /// French.
    French,
    /// Spanish.
    Spanish,
    /// Words as they are: lower case only.
    None,
}

/// How a collection is read, cut, embedded and trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionSettings {
    /// The embedder whose vectors the collection holds.
    pub embedder: ModelId,
    /// The language of analysis.
    pub language: Language,
    /// Whether words are reduced to their stems.
    pub stemming: bool,
    /// Whether the language's stop words are left out.
    pub stop_words: bool,
    /// A chunk's length that the chunker aims at, in the embedder's tokens.
    pub chunk_tokens: u32,
    /// The types of metadata fields; a field not named here is free.
    pub metadata_schema: BTreeMap<String, ValueType>,
    /// How far its texts are trusted.
    pub trust: Trust,
}
