//! `weir`: the one product binary; its subcommands are its roles.

fn main() {}
