//! Tells the files that this package shares with the gateway that they run on loom.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(gateway_loom)");
    println!("cargo::rustc-cfg=gateway_loom");
}
