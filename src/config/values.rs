//! Which value of a setting holds, and what it says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ibid_core::ModelId;
use ibid_infer::{Device, NoDevice, NoNumbers, Numbers};
use toml::{Table, Value};

use super::{ConfigError, Generator, Origin, SETTINGS, expand, generators};
use crate::snapshots::Target;

const GENERATORS: &str = "generator";

/// A setting's value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// Unit, range and reason.
    pub about: &'static str,
}

/// A value as it was given: in the file with its type, elsewhere as text.
#[derive(Debug, Clone)]
enum Given {
    Text(String),
    Toml(Value),
}

impl Given {
    /// A text, or what a text would be for a number.
    fn text(&self) -> Option<String> {
        match self {
            Given::Text(text) | Given::Toml(Value::String(text)) => Some(text.clone()),
            Given::Toml(Value::Integer(number)) => Some(number.to_string()),
            Given::Toml(Value::Float(number)) => Some(number.to_string()),
            Given::Toml(Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_)) => None,
        }
    }
}

/// The value of every setting.
#[derive(Debug)]
pub(super) struct Values {
    values: BTreeMap<&'static str, (Given, Origin)>,
    generators: Vec<Value>,
    generators_origin: Origin,
    home: Option<PathBuf>,
}

impl Values {
    pub(super) fn defaults() -> Values {
        let default =
            |setting: &super::Setting| (setting.key, (Given::Text(setting.default.to_owned()), Origin::Default));
        Values {
            values: SETTINGS.iter().map(default).collect(),
            generators: Vec::new(),
            generators_origin: Origin::Default,
            home: None,
        }
    }

    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
        let origin = Origin::File(path.to_owned());
        for (name, value) in table {
            match value {
                Value::Array(generators) if name == GENERATORS => {
                    (self.generators, self.generators_origin) = (generators, origin.clone());
                }
                Value::Table(section) => {
                    for (inner, value) in section {
                        self.set(&format!("{name}.{inner}"), Given::Toml(value), origin.clone())?;
                    }
                }
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_) => self.set(&name, Given::Toml(value), origin.clone())?,
            }
        }
        Ok(())
    }

    pub(super) fn add_environment(&mut self, environment: &BTreeMap<String, String>) {
        self.home = environment.get("HOME").map(PathBuf::from);
        for setting in SETTINGS {
            if let Some(text) = environment.get(setting.variable) {
                let origin = Origin::Environment(setting.variable.to_owned());
                self.values.insert(setting.key, (Given::Text(text.clone()), origin));
            }
        }
    }

    pub(super) fn add_flags(&mut self, flags: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        flags.iter().try_for_each(|(key, text)| self.set(key, Given::Text(text.clone()), Origin::Flag))
    }

    fn set(&mut self, key: &str, given: Given, origin: Origin) -> Result<(), ConfigError> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            let nearest = nearest(key, SETTINGS.iter().map(|setting| setting.key));
            return Err(ConfigError::UnknownKey { origin, key: key.to_owned(), nearest });
        };
        self.values.insert(setting.key, (given, origin));
        Ok(())
    }

    pub(super) fn explain(&self) -> Vec<Explained> {
        let setting = |setting: &super::Setting| {
            let (given, origin) = &self.values[setting.key];
            let value = match given {
                Given::Text(text) => text.clone(),
                Given::Toml(value) => value.to_string(),
            };
            Explained { key: setting.key.to_owned(), value, origin: origin.clone(), about: setting.about }
        };
        let generator = |(ordinal, generator): (usize, &Value)| Explained {
            key: format!("{GENERATORS}[{ordinal}]"),
            value: generator.get("name").map(Value::to_string).unwrap_or_default(),
            origin: self.generators_origin.clone(),
            about: generators::about(generator),
        };
        SETTINGS.iter().map(setting).chain(self.generators.iter().enumerate().map(generator)).collect()
    }

    /// The key of a generator's table that there is not.
    pub(super) fn unknown<'a>(&self, key: &str, name: &str, known: impl Iterator<Item = &'a str>) -> ConfigError {
        let (origin, key) = (self.generators_origin.clone(), format!("{key}.{name}"));
        ConfigError::UnknownKey { origin, key, nearest: nearest(name, known) }
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    pub(super) fn refuse(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let origin = self.values.get(key).map_or(&self.generators_origin, |(_, origin)| origin);
        ConfigError::Value { key: key.to_owned(), problem: problem.into(), origin: origin.clone() }
    }

    fn text(&self, key: &str) -> Result<String, ConfigError> {
        self.values[key].0.text().ok_or_else(|| self.refuse(key, "has the wrong type, expected a text or a number"))
    }

    pub(super) fn whole(&self, key: &str, min: usize, max: usize) -> Result<usize, ConfigError> {
        let text = self.text(key)?;
        let number = text.replace('_', "").parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| self.refuse(key, format!("is {text:?}, expected a whole number from {min} to {max}")))
    }

    /// `None` where it is empty.
    pub(super) fn number(&self, key: &str, min: f32, max: f32) -> Result<Option<f32>, ConfigError> {
        let text = self.text(key)?;
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        let problem = || self.refuse(key, format!("is {text:?}, expected a number from {min} to {max}, or nothing"));
        number.map(Some).ok_or_else(problem)
    }

    pub(super) fn address(&self, key: &str) -> Result<SocketAddr, ConfigError> {
        let text = self.text(key)?;
        let problem = || self.refuse(key, format!("is {text:?}, expected an address and a port, as 127.0.0.1:7420"));
        text.parse().map_err(|_| problem())
    }

    pub(super) fn model(&self, key: &str) -> Result<ModelId, ConfigError> {
        ModelId::new(&self.text(key)?).map_err(|error| self.refuse(key, error.to_string()))
    }

    /// A list in a file, or a text with ',' between its entries.
    pub(super) fn models(&self, key: &str) -> Result<Vec<ModelId>, ConfigError> {
        let model = |text: &String| ModelId::new(text.trim()).map_err(|error| self.refuse(key, error.to_string()));
        self.list(key, ',')?.iter().map(model).collect()
    }

    pub(super) fn device(&self, key: &str) -> Result<Device, ConfigError> {
        let text = self.text(key)?;
        text.parse().map_err(|error: NoDevice| self.refuse(key, format!("is {text:?}, {error}")))
    }

    pub(super) fn numbers(&self, key: &str) -> Result<Numbers, ConfigError> {
        let text = self.text(key)?;
        text.parse().map_err(|error: NoNumbers| self.refuse(key, format!("is {text:?}, expected {error}")))
    }

    /// `None` where it is empty.
    pub(super) fn optional_model(&self, key: &str) -> Result<Option<ModelId>, ConfigError> {
        if self.text(key)?.is_empty() { Ok(None) } else { self.model(key).map(Some) }
    }

    /// `None` where it is empty.
    pub(super) fn optional_path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let text = self.text(key)?;
        Ok(Some(text).filter(|text| !text.is_empty()).map(|text| expand(&text, self.home.as_deref())))
    }

    /// `None` where it is empty.
    pub(super) fn optional_target(&self, key: &str) -> Result<Option<Target>, ConfigError> {
        let text = self.text(key)?;
        if text.is_empty() {
            return Ok(None);
        }
        let target = Target::parse(&text, |path| expand(path, self.home.as_deref()));
        target.map(Some).map_err(|error| self.refuse(key, format!("is {text:?}, {error}")))
    }

    pub(super) fn path(&self, key: &str) -> Result<PathBuf, ConfigError> {
        self.optional_path(key)?.ok_or_else(|| self.refuse(key, "is empty, expected a path"))
    }

    /// A list in a file, or a text with ':' between its entries.
    pub(super) fn paths(&self, key: &str) -> Result<Vec<PathBuf>, ConfigError> {
        Ok(self.list(key, ':')?.iter().map(|text| expand(text, self.home.as_deref())).collect())
    }

    /// The entries that are not empty.
    fn list(&self, key: &str, separator: char) -> Result<Vec<String>, ConfigError> {
        let mut texts: Vec<String> = match &self.values[key].0 {
            Given::Toml(Value::Array(entries)) => {
                let texts = entries.iter().map(|entry| entry.as_str().map(str::to_owned)).collect::<Option<_>>();
                texts.ok_or_else(|| self.refuse(key, "has the wrong type, expected a list of texts"))?
            }
            Given::Text(_) | Given::Toml(_) => self.text(key)?.split(separator).map(str::to_owned).collect(),
        };
        texts.retain(|text| !text.is_empty());
        Ok(texts)
    }

    pub(super) fn generators(&self, environment: &BTreeMap<String, String>) -> Result<Vec<Generator>, ConfigError> {
        let generator =
            |(ordinal, value)| generators::read(self, format!("{GENERATORS}[{ordinal}]"), value, environment);
        self.generators.iter().enumerate().map(generator).collect()
    }
}

/// The name with the fewest edits to `given`; `None` if that is more than a third of it.
fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let (edits, name) = names.map(|name| (edits(given, name), name)).min()?;
    (edits <= given.len().div_ceil(3)).then(|| name.to_owned())
}

/// Insertions, deletions and replacements from one text to the other (Levenshtein 1966).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, found) in (1..).zip(from.chars()) {
        let mut diagonal = std::mem::replace(&mut row[0], above);
        for (column, wanted) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(found != *wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
