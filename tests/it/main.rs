//! Black-box tests: a real server, a real client, real models, real files.
//!
//! | file                 | what it asks                                                   |
//! | -------------------- | -------------------------------------------------------------- |
//! | `documents.rs`       | a document's life: put, found, read, replaced, deleted, kept   |
//! | `reading.rs`         | files of every format: found, placed, given back, refused      |
//! | `uploads.rs`         | streams of documents: order, refusals, protocol                |
//! | `rights.rs`          | who may what, and what the others are told                     |
//! | `refusals.rs`        | input that makes no sense, row by row                          |
//! | `noninterference.rs` | what a tenant is told does not depend on another               |
//! | `answers.rs`         | an answer's events and its citations                           |
//! | `service.rs`         | health, reflection                                             |
//! | `crash.rs`           | kill -9 in the middle of ingest, damaged and missing indexes   |
//! | `formats.rs`         | data folders of each released log format                       |
//! | `doctor.rs`          | `ibid doctor`, of a place that is fit and of others            |
//! | `fsck.rs`            | `ibid fsck`: what is damaged is mended, or named               |
//! | `erasure.rs`         | what was deleted is in no file any more                        |
//! | `past.rs`            | past generations searched, citations resolved                  |
//! | `snapshot.rs`        | snapshots under writes, restored and compared; on a real S3    |
//! | `torture.rs`         | `ibid torture`: ten kills, in two runs, and what it must notice |
//! | `migrate.rs`         | a collection's model changed under questions, kill -9          |
//! | `upstream.rs`        | answers by a provider: prompt, citations, failures, hanging up |
//! | `bench.rs`           | `ibid bench embed` by itself: what its JSON says               |
//! | `language_model.rs`  | answers by a model in the server's own process: streamed, cut off |
//! | `client.rs`          | the example client in Python                                   |
//! | `harness.rs`         | the server and its clients                                     |

mod answers;
mod bench;
mod client;
mod crash;
mod doctor;
mod documents;
mod erasure;
#[path = "../../crates/gateway/tests/fake_openai.rs"]
mod fake_openai;
mod formats;
mod fsck;
mod harness;
mod language_model;
mod migrate;
mod noninterference;
mod past;
mod reading;
mod refusals;
mod rights;
mod service;
mod snapshot;
mod torture;
mod uploads;
mod upstream;
