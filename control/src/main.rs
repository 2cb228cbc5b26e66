//! `xebec-control`: the control plane.
fn main() {}
