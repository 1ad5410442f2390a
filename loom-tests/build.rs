//! Tells the files that this package shares with the gateway that they run on loom, and gives the one of them that has its atomics
//! from the standard library loom's.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(gateway_loom)");
    println!("cargo::rustc-cfg=gateway_loom");

    let path = "../src/scrape/assembly.rs";
    println!("cargo::rerun-if-changed={path}");
    println!("cargo::rerun-if-changed=build.rs");
    let source = std::fs::read_to_string(path).expect("the gateway's sources lie beside this package");
    // Its fence is half of a pair: loom has to see both halves. A head may not stand in an included file.
    let (of_std, of_loom) = ("use std::sync::atomic::", "use loom::sync::atomic::");
    assert_eq!(source.matches("std::sync::atomic").count(), 1, "{path} has all its atomics from one import");
    let source = source.replace(of_std, of_loom).replace("//!", "//");
    let generated = Path::new(&std::env::var("OUT_DIR").expect("cargo sets it")).join("assembly.rs");
    std::fs::write(generated, source).expect("cargo made the directory");
}
