//! The `[[generator]]` tables: a language model elsewhere or here.

use std::collections::BTreeMap;

use ibid_gateway::Secret;
use toml::{Table, Value};

use super::values::Values;
use super::{ConfigError, Generator, Runs, expand};

const NAME: &str = "name";
/// The keys of one that runs elsewhere, behind its name.
const THERE: [&str; 3] = ["base_url", "model", "api_key_env"];
/// The keys of one that runs here, behind its name.
const HERE: [&str; 4] = [GGUF, "seed", "temperature", "top_p"];
/// The key that only one that runs here has.
const GGUF: &str = "gguf";

/// What a table makes.
pub(super) fn about(table: &Value) -> &'static str {
    match table.get(GGUF) {
        None => "a language model behind OpenAI's protocol; the first one is the default",
        Some(_) => "a language model in this process, from a GGUF file; the first one is the default",
    }
}

/// Reads the table `key`.
///
/// # Errors
/// [`ConfigError`]: a key is missing, unknown, of the other kind of generator, or has a value that it cannot have.
pub(super) fn read(
    values: &Values,
    key: String,
    value: &Value,
    environment: &BTreeMap<String, String>,
) -> Result<Generator, ConfigError> {
    let table = value.as_table().ok_or_else(|| values.refuse(&key, "is no table, expected [[generator]]"))?;
    let entry = Entry { values, key, table };
    let here = table.contains_key(GGUF);
    let (known, others) = if here { (&HERE[..], &THERE[..]) } else { (&THERE[..], &HERE[..]) };
    if let Some(name) = table.keys().find(|name| *name != NAME && !known.contains(&name.as_str())) {
        if others.contains(&name.as_str()) {
            let problem = if here { "does not go with gguf" } else { "goes with gguf only" };
            return Err(entry.refuse(name, &format!("{problem}, a model in this process")));
        }
        let all = [NAME].into_iter().chain(THERE).chain(HERE);
        return Err(values.unknown(&entry.key, name, all));
    }
    let name = entry.text(NAME)?;
    let runs = if here { entry.here()? } else { entry.there(environment)? };
    Ok(Generator { name, runs })
}

/// One table.
struct Entry<'a> {
    values: &'a Values,
    key: String,
    table: &'a Table,
}

impl Entry<'_> {
    fn there(&self, environment: &BTreeMap<String, String>) -> Result<Runs, ConfigError> {
        let api_key = match self.optional("api_key_env") {
            "" => None,
            variable => {
                let unset = || self.refuse("api_key_env", &format!("names the variable {variable}, which is not set"));
                Some(Secret::new(environment.get(variable).ok_or_else(unset)?.clone()))
            }
        };
        Ok(Runs::There { base_url: self.text("base_url")?, model: self.text("model")?, api_key })
    }

    fn here(&self) -> Result<Runs, ConfigError> {
        let seed = match self.table.get("seed") {
            None => 0,
            Some(value) => {
                let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
                number.ok_or_else(|| self.refuse("seed", &format!("is {value}, expected a whole number from 0")))?
            }
        };
        let top_p = self.number("top_p", |share| share > 0.0 && share <= 1.0, "above 0 to 1")?.unwrap_or(1.0);
        let temperature = self.number("temperature", |number| (0.0..=2.0).contains(&number), "from 0 to 2")?;
        Ok(Runs::Here { gguf: expand(&self.text(GGUF)?, self.values.home()), seed, temperature, top_p })
    }

    fn optional(&self, name: &str) -> &str {
        self.table.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn text(&self, name: &str) -> Result<String, ConfigError> {
        match self.optional(name) {
            "" => Err(self.refuse(name, "is missing or no text")),
            text => Ok(text.to_owned()),
        }
    }

    fn number(&self, name: &str, fits: impl Fn(f32) -> bool, range: &str) -> Result<Option<f32>, ConfigError> {
        let Some(value) = self.table.get(name) else { return Ok(None) };
        let number =
            value.as_float().or_else(|| value.as_integer().map(|number| number as f64)).map(|number| number as f32);
        let problem = || self.refuse(name, &format!("is {value}, expected a number {range}"));
        number.filter(|number| fits(*number)).map(Some).ok_or_else(problem)
    }

    fn refuse(&self, name: &str, problem: &str) -> ConfigError {
        self.values.refuse(&format!("{}.{name}", self.key), problem)
    }
}
