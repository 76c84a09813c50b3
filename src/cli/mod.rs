//! The command line: one file per subcommand, and no decision that belongs to the node.
//!
//! Flags of a node and their help are read from the table of settings, and the environment by the same table, so that
//! there is one place where a setting is described. Exit codes: 0 done, 1 failed, 2 refused before it began.

mod bench;
mod check;
mod control;
mod emit;
mod history;
mod http;
mod output;
mod serve;
mod stats;
mod tail;
mod token;

use std::process::ExitCode;

use clap::Command;

use crate::node::settings::Settings;

/// Runs the command that the arguments of this process name. `run` is the node, which `serve` hands its settings.
pub fn main(run: fn(Settings) -> ExitCode) -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(told) => {
            // Help and version arrive here too, with exit code 0. A reader that went away needs no word about it.
            let _ = told.print();
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
        }
    };
    let env = |name: &str| std::env::var(name).ok();
    match matches.subcommand() {
        None => serve::run(&matches, env, run),
        Some(("serve", arguments)) => serve::run(arguments, env, run),
        Some(("emit", arguments)) => emit::run(arguments, env),
        Some(("tail", arguments)) => tail::run(arguments, env),
        Some(("history", arguments)) => history::run(arguments, env),
        Some(("token", arguments)) => token::run(arguments, env),
        Some(("stats", arguments)) => stats::run(arguments, env),
        Some(("check", arguments)) => check::run(arguments, env),
        Some(("bench", arguments)) => bench::run(arguments, env),
        Some((name, _)) => output::refuse(&format!("{name} is no command")),
    }
}

/// All arguments of all commands.
fn command() -> Command {
    serve::with_settings(Command::new("omnicast"))
        .version(env!("CARGO_PKG_VERSION"))
        .about("The realtime node of a shop: checks who each client is, and delivers each event to the right ones")
        .max_term_width(110)
        .args_conflicts_with_subcommands(true)
        .subcommands([
            serve::command(),
            emit::command(),
            tail::command(),
            history::command(),
            token::command(),
            stats::command(),
            check::command(),
            bench::command(),
        ])
        .after_help(
            "Every flag of a node is an environment variable too, named in brackets; the flag wins. Durations are milliseconds, \
             sizes bytes.\n\n\
             Examples:\n  \
             omnicast                                     a node on 127.0.0.1:3001, for this machine only\n  \
             omnicast tail                                see what an admin sees\n  \
             omnicast emit product:deleted '{\"productId\":\"p_1\"}'\n  \
             WS_JWT_SECRET=... omnicast --host 0.0.0.0    a node for others, that asks for tokens\n  \
             WS_JWT_SECRET=... omnicast token --user u_1 --role manager",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::settings::SETTINGS;

    #[test]
    fn the_arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn help_tells_every_setting_with_its_variable_and_default() {
        for help in
            [command(), serve::command(), check::command()].map(|c| c.term_width(0).render_help().to_string())
        {
            for setting in SETTINGS {
                let line = help.lines().find(|line| line.contains(&format!("[{}, default ", setting.name)));
                let line = line.unwrap_or_else(|| panic!("{} is not told", setting.name));
                assert!(line.contains(setting.help) && line.contains(setting.default), "{line}");
                assert!(help.contains(&format!("--{}", setting.flag)) && help.contains(setting.group));
            }
        }
    }

    #[test]
    fn serve_may_be_left_out() {
        for arguments in [
            &["omnicast", "--port", "3002", "--trust-clients", "--validate=off"][..],
            &["omnicast", "serve", "--port", "3002", "--trust-clients", "--validate", "off"],
        ] {
            let matches = command().try_get_matches_from(arguments).unwrap();
            let flags = serve::flags(matches.subcommand_matches("serve").unwrap_or(&matches));
            let expected = [("WS_PORT", "3002"), ("WS_TRUST_CLIENTS", "on"), ("WS_VALIDATE", "off")];
            assert_eq!(flags, expected.map(|(name, value)| (name, value.to_string())));
        }
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused_with_2() {
        for arguments in [
            &["omnicast", "sevre"][..],
            &["omnicast", "--prot", "1"],
            &["omnicast", "--port", "1", "tail"],
            &["omnicast", "emit", "t", "{}", "--data", "{}"],
            &["omnicast", "tail", "--count", "0"],
            &["omnicast", "tail", "--token", "t", "--role", "admin"],
            &["omnicast", "tail", "--since", "1"],
            &["omnicast", "history", "--limit", "0"],
            &["omnicast", "token", "--user", "u"],
        ] {
            assert_eq!(
                command().try_get_matches_from(arguments).unwrap_err().exit_code(),
                2,
                "{arguments:?}"
            );
        }
        // A bad value is the table's to refuse, a negative number too.
        let matches = command().try_get_matches_from(["omnicast", "--port", "-1"]).unwrap();
        assert_eq!(serve::flags(&matches), [("WS_PORT", "-1".to_string())]);
    }
}
