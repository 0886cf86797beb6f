//! A provider that does what a script says, in two wire formats. Tests include this file by its path.
//!
//! | file         | responsibility                                                        |
//! | ------------ | --------------------------------------------------------------------- |
//! | `server.rs`  | connections: every byte and every silence of a reply                  |
//! | `wire.rs`    | the events of OpenAI's chat completions and of Anthropic's Messages   |
//! | `scripts.rs` | what can go wrong, and what is to become of it                        |
#![allow(dead_code, unused_imports, reason = "each test binary that includes this file uses its part")]

pub(crate) mod scripts;
pub(crate) mod server;
pub(crate) mod wire;

pub(crate) use server::{Reply, Step, Upstream};
pub(crate) use wire::{End, Wire};
