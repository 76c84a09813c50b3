//! The log: to standard error, so that standard output stays for what a command answers.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::node::settings::LogFormat;

/// Starts the log. A second start in one process (tests) changes nothing.
pub fn start(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would tell of a stderr that is gone on stderr, and panic there.
        .log_internal_errors(false);
    // Both fail only when a log is running already.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
