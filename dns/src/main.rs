//! `xebec-dns`: cluster DNS on its own.
fn main() {}
