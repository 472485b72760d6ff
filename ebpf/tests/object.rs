//! The committed object is what its sources make: rebuilt, it has the same instructions.

use std::path::Path;
use std::process::Command;

fn disassembly(object: &Path) -> String {
    let output = Command::new("llvm-objdump")
        .args(["-d", "-r", "--no-show-raw-insn", "--section=xdp.frags"])
        .arg(object)
        .output()
        .expect("llvm-objdump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("llvm-objdump prints text");
    // The first lines name the file.
    text.lines().filter(|line| !line.contains("file format")).collect::<Vec<_>>().join("\n")
}

fn version(tool: &str) -> Option<String> {
    let output = Command::new(tool).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find(|line| line.contains("version")).map(|line| line.trim().to_owned())
}

#[test]
fn the_rebuilt_program_has_the_committed_ones_instructions() {
    let (Some(clang), Some(_)) = (version("clang"), version("llvm-objdump")) else {
        eprintln!("skipped: clang and llvm are not installed, the object was not rebuilt");
        return;
    };
    if !clang.contains("version 14.") {
        eprintln!("skipped: the object was built by clang 14; here is {clang}");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rebuilt = Path::new(env!("CARGO_TARGET_TMPDIR")).join("weir.bpf.o");
    let status = Command::new(root.join("build.sh")).arg(&rebuilt).status().expect("sh runs");
    assert!(status.success(), "ebpf/build.sh failed");
    let committed = disassembly(&root.join("bin/weir.bpf.o"));
    assert!(committed.contains("exit"), "the committed object has a program");
    assert!(
        committed == disassembly(&rebuilt),
        "ebpf/bin/weir.bpf.o is not what ebpf/bpf makes: run ebpf/build.sh and commit its result"
    );
}
