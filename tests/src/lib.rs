//! Tests that need more than one crate of the workspace, and the proof that the README's examples run.
//!
//! Each Rust example of `README.md` is a doc-test of this crate. Tests of one crate alone lie beside its code.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
