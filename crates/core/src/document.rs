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
    /// `text/html`
    Html,
    /// `application/pdf`
    Pdf,
    /// Word: `application/vnd.openxmlformats-officedocument.wordprocessingml.document`
    Docx,
    /// PowerPoint: `application/vnd.openxmlformats-officedocument.presentationml.presentation`
    Pptx,
    /// Excel: `application/vnd.openxmlformats-officedocument.spreadsheetml.sheet`
    Xlsx,
    /// `text/csv`
    Csv,
    /// `text/tab-separated-values`
    Tsv,
    /// `application/json`
    Json,
    /// `application/jsonl`
    JsonLines,
    /// `application/yaml`
    Yaml,
    /// `message/rfc822`
    Email,
    /// Source code, as `text/x-rust`.
    Code(CodeLanguage),
}

/// A programming language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CodeLanguage {
    /// Rust.
    Rust,
    /// Python.
    Python,
    /// TypeScript.
    TypeScript,
    /// TypeScript with JSX.
    Tsx,
    /// JavaScript, JSX included.
    JavaScript,
    /// Go.
    Go,
    /// Java.
    Java,
    /// C.
    C,
    /// C++.
    Cpp,
    /// SQL.
    Sql,
    /// Shell.
    Shell,
}

impl MediaType {
    /// All of them.
    pub const ALL: [MediaType; 24] = [
        MediaType::Markdown,
        MediaType::Plain,
        MediaType::Html,
        MediaType::Pdf,
        MediaType::Docx,
        MediaType::Pptx,
        MediaType::Xlsx,
        MediaType::Csv,
        MediaType::Tsv,
        MediaType::Json,
        MediaType::JsonLines,
        MediaType::Yaml,
        MediaType::Email,
        MediaType::Code(CodeLanguage::Rust),
        MediaType::Code(CodeLanguage::Python),
        MediaType::Code(CodeLanguage::TypeScript),
        MediaType::Code(CodeLanguage::Tsx),
        MediaType::Code(CodeLanguage::JavaScript),
        MediaType::Code(CodeLanguage::Go),
        MediaType::Code(CodeLanguage::Java),
        MediaType::Code(CodeLanguage::C),
        MediaType::Code(CodeLanguage::Cpp),
        MediaType::Code(CodeLanguage::Sql),
        MediaType::Code(CodeLanguage::Shell),
    ];

    /// Reads a media type such as `text/markdown; charset=utf-8`. `None` for one that is not supported.
    pub fn parse(text: &str) -> Option<MediaType> {
        let name = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let other = match name.as_str() {
            "text/x-markdown" => MediaType::Markdown,
            "application/xhtml+xml" => MediaType::Html,
            "text/json" => MediaType::Json,
            "application/x-ndjson" | "application/ndjson" | "application/x-jsonlines" => MediaType::JsonLines,
            "application/x-yaml" | "text/yaml" | "text/x-yaml" => MediaType::Yaml,
            "text/rust" => MediaType::Code(CodeLanguage::Rust),
            "text/typescript" | "application/typescript" => MediaType::Code(CodeLanguage::TypeScript),
            "text/javascript" | "application/javascript" => MediaType::Code(CodeLanguage::JavaScript),
            "application/sql" => MediaType::Code(CodeLanguage::Sql),
            "application/x-sh" => MediaType::Code(CodeLanguage::Shell),
            _ => return MediaType::ALL.into_iter().find(|media| media.as_str() == name),
        };
        Some(other)
    }

    /// The media type as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            MediaType::Markdown => "text/markdown",
            MediaType::Plain => "text/plain",
            MediaType::Html => "text/html",
            MediaType::Pdf => "application/pdf",
            MediaType::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            MediaType::Pptx => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            MediaType::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            MediaType::Csv => "text/csv",
            MediaType::Tsv => "text/tab-separated-values",
            MediaType::Json => "application/json",
            MediaType::JsonLines => "application/jsonl",
            MediaType::Yaml => "application/yaml",
            MediaType::Email => "message/rfc822",
            MediaType::Code(CodeLanguage::Rust) => "text/x-rust",
            MediaType::Code(CodeLanguage::Python) => "text/x-python",
            MediaType::Code(CodeLanguage::TypeScript) => "text/x-typescript",
            MediaType::Code(CodeLanguage::Tsx) => "text/x-tsx",
            MediaType::Code(CodeLanguage::JavaScript) => "text/x-javascript",
            MediaType::Code(CodeLanguage::Go) => "text/x-go",
            MediaType::Code(CodeLanguage::Java) => "text/x-java",
            MediaType::Code(CodeLanguage::C) => "text/x-c",
            MediaType::Code(CodeLanguage::Cpp) => "text/x-c++",
            MediaType::Code(CodeLanguage::Sql) => "text/x-sql",
            MediaType::Code(CodeLanguage::Shell) => "text/x-shellscript",
        }
    }

    /// Whether the text that is stored and cited is not the file's own: it was made from the file.
    pub fn is_converted(self) -> bool {
        match self {
            MediaType::Html
            | MediaType::Pdf
            | MediaType::Docx
            | MediaType::Pptx
            | MediaType::Xlsx
            | MediaType::Email => true,
            MediaType::Markdown
            | MediaType::Plain
            | MediaType::Csv
            | MediaType::Tsv
            | MediaType::Json
            | MediaType::JsonLines
            | MediaType::Yaml
            | MediaType::Code(_) => false,
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
    /// A chunk's length that the chunker aims at, in the embedder's tokens; 0: its own choice.
    pub chunk_tokens: u32,
    /// How many tokens of whole sentences a chunk repeats of the one before, within one running text.
    pub chunk_overlap_tokens: u32,
    /// Whether title, headings and repeated rows are embedded with a chunk, and searched as words of it.
    pub chunk_context: bool,
    /// The types of metadata fields; a field not named here is free.
    pub metadata_schema: BTreeMap<String, ValueType>,
    /// How far its texts are trusted.
    pub trust: Trust,
}
