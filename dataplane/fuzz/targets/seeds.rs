//! Writes a target's seeds into a folder, for libFuzzer to begin with: `seeds TARGET FOLDER
//! [CAPTURE…]`, of captures the first few datagrams that are of use to the target.

use std::path::Path;

#[path = "../../../controlplane/src/capture/mod.rs"]
#[allow(dead_code, reason = "the control plane uses more of it")]
mod capture;

use capture::Capture;

/// Datagrams of one capture.
const DATAGRAMS: usize = 24;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder, captures @ ..] = &arguments[..] else {
        eprintln!("seeds TARGET FOLDER [CAPTURE…]");
        std::process::exit(2);
    };
    let Some(target) = weir_fuzz::target(name) else {
        eprintln!("no target {name}; there are");
        weir_fuzz::TARGETS.iter().for_each(|target| eprintln!("  {}", target.name));
        std::process::exit(2);
    };
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder).expect("a folder that can be made");
    let write = |name: String, seed: &[u8]| {
        std::fs::write(folder.join(name), seed).expect("a file that can be written");
    };
    let seeds = (target.seeds)();
    seeds.iter().enumerate().for_each(|(at, seed)| write(format!("seed-{at}"), seed));
    println!("{} seeds", seeds.len());
    let Some(input) = target.of_datagram else { return };
    let mut count = 0;
    for (file, path) in captures.iter().enumerate() {
        let Ok(capture) = Capture::read(Path::new(path)) else { continue };
        for datagram in capture.datagrams.iter().take(DATAGRAMS) {
            write(format!("capture-{file}-{count}"), &input(&datagram.payload));
            count += 1;
        }
    }
    println!("{count} datagrams of {} captures", captures.len());
}
