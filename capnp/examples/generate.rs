//! Generates the Rust of the schemas into a folder; `generate.sh` and `tests/generated.rs` run it.

use std::path::Path;

/// The schemas, without their extension.
pub(crate) const SCHEMAS: [&str; 2] = ["control", "query"];

/// Runs the `capnp` compiler over `capnp/schema` and writes `*_capnp.rs` into `folder`.
///
/// # Errors
/// When `capnp` is not installed or refuses a schema.
pub(crate) fn generate(folder: &Path) -> capnp::Result<()> {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let mut command = capnpc::CompilerCommand::new();
    command.src_prefix(&schemas).output_path(folder);
    for name in SCHEMAS {
        command.file(schemas.join(name).with_extension("capnp"));
    }
    command.run()
}

#[allow(dead_code, reason = "the test takes this file as a module")]
fn main() {
    let folder = std::env::args().nth(1).expect("usage: generate FOLDER");
    if let Err(error) = generate(Path::new(&folder)) {
        eprintln!("generate: {error}");
        std::process::exit(1);
    }
}
