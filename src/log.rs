//! The log: structured lines on standard error. `IBID_LOG` filters them (`info` by default), `IBID_LOG_FORMAT=json` makes
//! each an object.

#![allow(clippy::disallowed_methods, reason = "the log starts before the configuration is read")]

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging for this process; a second call changes nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env("IBID_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever set a log before this one keeps it.
    let _ = if std::env::var("IBID_LOG_FORMAT").is_ok_and(|format| format == "json") {
        lines.json().try_init()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}
