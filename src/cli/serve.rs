//! `omnicast serve`: runs a node with the settings of flags and environment.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::output;
use crate::node::settings::{SETTINGS, SettingError, Settings, Takes, unknown_variables};

/// The subcommand's arguments: all settings.
pub fn command() -> Command {
    with_settings(Command::new("serve").about("Run a node (what omnicast alone does, too)"))
}

/// Adds a flag for every setting.
pub fn with_settings(command: Command) -> Command {
    SETTINGS.iter().fold(command, |command, setting| {
        let default = match (setting.default, setting.unit) {
            ("", _) => "default empty".into(),
            (default, unit) if default.parse::<u64>().is_ok() && !unit.is_empty() => {
                format!("default {default} {unit}")
            }
            (default, _) => format!("default {default}"),
        };
        let mut arg = Arg::new(setting.name)
            .long(setting.flag)
            .value_name(setting.placeholder())
            .help(format!("{} [{}, {default}]", setting.help, setting.name))
            .help_heading(setting.group)
            .action(ArgAction::Set)
            .allow_negative_numbers(true);
        if setting.is_secret() {
            arg = arg.allow_hyphen_values(true); // Otherwise a refusal would quote it.
        }
        if setting.takes == Takes::Switch && setting.default == "off" {
            arg = arg.num_args(0..=1).require_equals(true).default_missing_value("on");
        }
        command.arg(arg)
    })
}

/// The settings among the arguments, by name.
pub fn flags(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let given = |name| matches.get_one::<String>(name).map(|value| (name, value.clone()));
    SETTINGS.iter().filter_map(|setting| given(setting.name)).collect()
}

/// Reads the settings, and says on stderr what looks like one and is none.
///
/// # Errors
/// The refusal.
pub fn load(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingError> {
    for warning in unknown_variables(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()))
    {
        output::tell(&format!("warning: {warning}"));
    }
    let not_text = |name: &str| std::env::var_os(name).is_some_and(|value| value.to_str().is_none());
    if let Some(setting) = SETTINGS.iter().find(|setting| not_text(setting.name)) {
        return Err(SettingError::not_text(setting));
    }
    Settings::load(&flags(matches), env)
}

/// Hands the settings to `run`, which is the node.
pub fn run(
    matches: &ArgMatches,
    env: impl Fn(&str) -> Option<String>,
    run: fn(Settings) -> ExitCode,
) -> ExitCode {
    match load(matches, env) {
        Ok(settings) => run(settings),
        Err(refusal) => output::refuse(&refusal.to_string()),
    }
}
