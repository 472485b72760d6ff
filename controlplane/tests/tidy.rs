//! The house rules that a compiler does not hold: ARCHITECTURE.md's tables, as tests.

#![allow(clippy::unwrap_used, reason = "a test ends where its setting cannot be made")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which packages of the workspace a package may build on. `hwtests` and `benches` may build on any,
/// and nothing builds on them.
const MAY_DEPEND_ON: [(&str, &[&str]); 6] = [
    ("ebpf", &[]),
    ("store", &[]),
    ("capnp", &[]),
    ("tuning", &[]),
    ("dataplane", &["weir-ebpf", "weir-store"]),
    ("controlplane", &["weir-dataplane", "weir-store", "weir-rpc", "weir-tuning", "weir-ebpf"]),
];

/// Files that may say `unsafe`, by their beginning; each says why at its head.
const UNSAFE: [&str; 11] = [
    "ebpf/src/run.rs",
    "dataplane/src/io/socket.rs",
    "dataplane/src/io/device.rs",
    "dataplane/src/io/afxdp/memory.rs",
    "dataplane/src/io/afxdp/rings",
    "dataplane/tests/hostile_proxy/counting.rs",
    "dataplane/tests/memory.rs",
    "store/src/map.rs",
    "tuning/src/ethtool.rs",
    "hwtests/src/bin/send-frames.rs",
    // Generated, and quoted in strings only.
    "capnp/src/",
];

/// Crates that await belong to the control plane alone.
const ASYNC: [&str; 4] = ["tokio", "futures", "async-std", "smol"];

/// Lines of a file beyond which it holds more than one noun.
const LONGEST: usize = 900;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Our own Rust files with their path from the root.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut folders: Vec<PathBuf> =
        MAY_DEPEND_ON.iter().map(|(folder, _)| root.join(folder)).collect();
    folders.extend([root.join("hwtests"), root.join("benches")]);
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let from_root = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                files.push((from_root, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(files.len() > 50, "only {} files found", files.len());
    files
}

fn manifest(folder: &str) -> toml::Table {
    std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = manifest(folder);
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn packages_build_on_each_other_in_one_direction() {
    for (folder, allowed) in MAY_DEPEND_ON {
        let ours = dependencies(folder).into_iter().filter(|name| name.starts_with("weir-"));
        for name in ours {
            assert!(
                allowed.contains(&name.as_str()),
                "{folder} depends on {name}: see the table in ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn the_table_names_every_package() {
    let workspace = manifest(".");
    let members = workspace["workspace"]["members"].as_array().unwrap();
    for member in members.iter().map(|member| member.as_str().unwrap()) {
        let known = MAY_DEPEND_ON.iter().any(|(folder, _)| *folder == member)
            || ["hwtests", "benches"].contains(&member);
        assert!(known, "{member} is in the workspace and not in the table");
        let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
        assert!(page.contains(&format!("`{member}/`")), "{member} is not in ARCHITECTURE.md");
    }
}

#[test]
fn only_the_control_plane_awaits() {
    for (folder, _) in MAY_DEPEND_ON.iter().filter(|(folder, _)| *folder != "controlplane") {
        let found = dependencies(folder);
        for name in ASYNC {
            assert!(!found.contains(name), "{folder} depends on {name}");
        }
    }
}

#[test]
fn unsafe_stays_in_the_listed_files() {
    const FORMS: [&str; 5] =
        ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code)"];
    let mut found = Vec::new();
    for (path, text) in sources() {
        if UNSAFE.iter().any(|allowed| path.starts_with(allowed)) || path.ends_with("tidy.rs") {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if FORMS.iter().any(|form| code.contains(form)) {
                found.push(format!("{path}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "unsafe outside the listed files:\n{}", found.join("\n"));
}

#[test]
fn no_file_is_longer_than_a_noun_needs() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > LONGEST && !text.starts_with("// @generated") {
            found.push(format!("{path}: {lines} lines"));
        }
    }
    assert!(found.is_empty(), "over {LONGEST} lines, find the nouns:\n{}", found.join("\n"));
}

#[test]
fn every_file_says_at_its_head_what_it_is() {
    for (path, text) in sources() {
        let said = text.starts_with("//!") || text.starts_with("// @generated");
        assert!(said, "{path} begins with {:?}", text.lines().next());
    }
}
