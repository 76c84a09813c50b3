//! The binary: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    omnicast::cli::main(omnicast::node::start::run)
}
