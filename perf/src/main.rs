//! The load harness of the gateway.
fn main() {}
