//! Black-box tests: a real server, a real client, real models, real files.
//!
//! | file           | what it asks                                                     |
//! | -------------- | ---------------------------------------------------------------- |
//! | `documents.rs` | a document's life: put, found, read, replaced, deleted, kept     |
//! | `uploads.rs`   | streams of documents: order, refusals, protocol                  |
//! | `rights.rs`    | who may what, and what the others are told                       |
//! | `answers.rs`   | an answer's events and its citations                             |
//! | `service.rs`   | health, reflection                                               |
//! | `harness.rs`   | the server and its clients                                       |

mod answers;
mod documents;
mod harness;
mod rights;
mod service;
mod uploads;
