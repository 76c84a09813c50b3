//! `omnicast check`: would a node start with these settings and this policy, and what would it do?

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use crate::cli::{output, serve};
use crate::node::assemble;
use crate::node::settings::{Listed, Settings, Source, default_control_socket};
use crate::node::tls;

/// The subcommand's arguments: all settings.
pub fn command() -> Command {
    serve::with_settings(Command::new("check").about("Check settings and policy, and print what would hold"))
        .after_help("Exits with 2 where a node would refuse to start.")
}

/// Prints the settings that hold, and the compiled policy.
pub fn run(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> ExitCode {
    let settings = match serve::load(matches, &env) {
        Ok(settings) => settings,
        Err(refusal) => return output::refuse(&refusal.to_string()),
    };
    // All that a node makes of its settings, and not the policy alone: what it would refuse is refused here.
    let policy = match assemble::config(&settings, "") {
        Ok(config) => config.policy.table(),
        Err(refusal) => return output::refuse(&refusal),
    };
    if let Err(refusal) = tls::acceptor(&settings) {
        return output::refuse(&refusal);
    }
    let mut listing = Settings::listing(&serve::flags(matches), &env);
    for listed in listing.iter_mut().filter(|listed| listed.source == Source::Default) {
        match listed.name {
            "WS_SHARDS" => listed.value = settings.shards.to_string(),
            "WS_CONTROL_SOCKET" => listed.value = default_control_socket(&env).display().to_string(),
            _ => {}
        }
    }
    for listed in listing.iter_mut().filter(|listed| listed.name == "WS_JOURNAL_SEGMENT") {
        listed.value = settings.journal_segment_that_holds().to_string();
    }
    let mode = if settings.is_trusted_mode() { "trusted: clients say who they are" } else { "tokens only" };
    output::ended(print(&mut io::stdout().lock(), &listing, mode, &policy))
}

fn print(out: &mut impl Write, listing: &[Listed], mode: &str, policy: &str) -> io::Result<()> {
    let width = |column: fn(&Listed) -> usize| listing.iter().map(column).max().unwrap_or(0);
    let names = width(|listed| listed.name.len());
    let values = width(|listed| listed.value.chars().count()).min(40);
    for Listed { name, value, source } in listing {
        writeln!(out, "{name:names$}  {value:values$}  {source}")?;
    }
    writeln!(out, "\nidentity: {mode}")?;
    if !policy.is_empty() {
        writeln!(out, "\n{}", policy.trim_end())?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_is_aligned_and_the_policy_follows() {
        let listed = |name, value: &str, source| Listed { name, value: value.into(), source };
        let listing = [listed("WS_PORT", "3001", Source::Default), listed("WS_LOG", "debug", Source::Flag)];
        let mut out = Vec::new();
        print(&mut out, &listing, "tokens only", "admin all\n").unwrap();
        let expected =
            "WS_PORT  3001   default\nWS_LOG   debug  flag\n\nidentity: tokens only\n\nadmin all\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
