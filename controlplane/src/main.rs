//! `weir`: the one product binary; its subcommands are its roles.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir_controlplane::cli::main()
}
