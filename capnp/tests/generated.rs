//! The checked-in Rust is what the schemas generate.

use std::path::Path;
use std::process::Command;

#[path = "../examples/generate.rs"]
mod generate;

/// Whether the pinned compiler is here; without it there is nothing to compare with.
fn compiler_is_the_pinned_one() -> bool {
    let pinned = include_str!("../schema/compiler-version").trim();
    let found = Command::new("capnp").arg("--version").output();
    match found {
        Ok(output) if String::from_utf8_lossy(&output.stdout).trim() == pinned => true,
        Ok(output) => {
            let found = String::from_utf8_lossy(&output.stdout);
            eprintln!("skipped: capnp is {:?}, pinned is {pinned:?}", found.trim());
            false
        }
        Err(_) => {
            eprintln!("skipped: capnp is not installed");
            false
        }
    }
}

#[test]
fn generated_code_is_what_the_schemas_say() {
    if !compiler_is_the_pinned_one() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    generate::generate(folder.path()).unwrap();
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for name in generate::SCHEMAS {
        let file = format!("{name}_capnp.rs");
        let fresh = std::fs::read_to_string(folder.path().join(&file)).unwrap();
        let ours = std::fs::read_to_string(checked_in.join(&file)).unwrap();
        assert!(fresh == ours, "{file} differs from its schema: run capnp/generate.sh");
    }
}
