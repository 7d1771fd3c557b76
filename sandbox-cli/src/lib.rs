//! The skin of the sandbox: what is asked, and what is shown.
//!
//! A [`scenario`] file says what happens to a simulated federation, step by step. [`runner`] carries it out and hands
//! back a [`report`], which is either printed as JSON or drawn for a person by [`render`]; [`trace`] writes down single
//! lookups and explains them hop by hop. [`compare`] says what differs between two reports,
//! [`scale`] what runs cost at several sizes. The [`shell`] does single things to a federation as they are typed. None of
//! it knows how the network works: that is the simulator's affair.
//!
//! ```text
//!   file.toml ─ scenario ─ options ─▶ runner ─▶ report ─┬─▶ JSON
//!                                       │ │             └─▶ render
//!                              progress ◀ ▶ trace ─▶ explain
//! ```
//!
//! It is a library beside the program so that tests and benches can run the same scenarios without a second process.

pub mod compare;
pub mod options;
pub mod progress;
pub mod render;
pub mod report;
pub mod runner;
pub mod scale;
pub mod scenario;
pub mod shell;
pub mod sockets;
pub mod swarm;
pub mod trace;
