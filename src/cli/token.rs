//! `omnicast token`: a token for tests and scripts, signed with the node's own secret.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::cli::output;
use crate::node::settings::MIN_JWT_SECRET_BYTES;
use crate::policy::{Claims, mint_hs256};

/// Longest life of a minted token: ten years.
const MAX_TTL_S: u64 = 10 * 366 * 86_400;

/// The subcommand's arguments.
pub fn command() -> Command {
    let text = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    Command::new("token")
        .about("Mint a token (HS256) with the secret in WS_JWT_SECRET")
        .arg(text("user", "Whom it speaks for").value_name("ID").required(true))
        .arg(text("role", "The role it gives").value_name("ROLE").required(true))
        .arg(text("session", "The session it belongs to [default: a new one]").value_name("ID"))
        .arg(
            text("ttl", "How long it is good for")
                .value_name("SECONDS")
                .default_value("3600")
                .value_parser(value_parser!(u64).range(1..=MAX_TTL_S)),
        )
        .after_help(
            "The secret is read from the environment only: arguments are visible to other users.\n\n\
             Example:\n  WS_JWT_SECRET=$SECRET omnicast token --user u_1 --role manager",
        )
}

/// Prints the token.
pub fn run(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> ExitCode {
    let secret = match secret(env) {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            return output::refuse("WS_JWT_SECRET is not set, and without it there is nothing to sign with");
        }
        Err(sentence) => return output::refuse(&sentence),
    };
    let get = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let now_ms = output::now_ms();
    let fresh = format!("s_{:x}_{now_ms:x}", std::process::id());
    let claims = Claims {
        sub: get("user").expect("clap requires it").to_owned(),
        role: get("role").expect("clap requires it").to_owned(),
        sid: get("session").unwrap_or(&fresh).to_owned(),
        exp: now_ms / 1000 + matches.get_one::<u64>("ttl").expect("it has a default"),
        nbf: None,
    };
    let token = mint_hs256(&secret, &claims);
    output::print_line(&token)
}

/// The secret of the environment, where it is set.
///
/// # Errors
/// One sentence where it is too short for a node to accept.
pub fn secret(env: impl Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    match env("WS_JWT_SECRET") {
        Some(secret) if secret.len() < MIN_JWT_SECRET_BYTES => Err(format!(
            "WS_JWT_SECRET (environment) has {} bytes: allowed is at least {MIN_JWT_SECRET_BYTES} bytes",
            secret.len()
        )),
        secret => Ok(secret),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_is_refused_without_being_shown() {
        let refusal = secret(|_| Some("hush".into())).unwrap_err();
        assert!(refusal.contains("4 bytes") && !refusal.contains("hush"), "{refusal}");
        assert_eq!(secret(|_| None), Ok(None));
    }
}
