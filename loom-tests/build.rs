//! Sets `cfg(gateway_loom)`, under which the files that this package shares with the gateway use
//! loom's atomics.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(gateway_loom)");
    println!("cargo::rustc-cfg=gateway_loom");
}
