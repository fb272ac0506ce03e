//! adledger
fn main() {}
