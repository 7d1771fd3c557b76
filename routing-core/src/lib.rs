//! A lookup network that no one owns.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod account;
pub mod canonical;
pub mod config;
pub mod contact;
pub mod domain;
pub mod id;
pub mod key;
pub mod record;
pub mod time;
