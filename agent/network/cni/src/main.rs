//! `xebec-cni`: the CNI plugin.
fn main() {}
