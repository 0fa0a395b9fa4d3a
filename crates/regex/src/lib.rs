//! Regular expressions for dependencies that ask for them: `regex-lite` under the name of `regex`, put in its place by `[patch.crates-io]`.
//!
//! The bus client checks names of buckets and versions of servers by some ten expressions, for which `regex` brings 240 KiB of code and tables of
//! Unicode into every image, and automata into the memory of every daemon. `regex-lite` is of the same authors, has the same interface for what is
//! used here, and knows no classes of Unicode (`\p{..}`; `\w` is ASCII), which none of these expressions has: `tests/expressions.rs` holds them.

pub use regex_lite::*;
