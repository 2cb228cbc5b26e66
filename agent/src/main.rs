//! `xebec-agent`: the node.
fn main() {}
