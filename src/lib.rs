//! Ibid: a retrieval engine for RAG. This is its edge: what knows protobuf, gRPC, the environment and configuration files.
//!
//! | file             | responsibility                                                                 |
//! | ---------------- | ------------------------------------------------------------------------------ |
//! | `config.rs`      | flags, environment and file to one checked [`config::Config`]                   |
//! | `log.rs`         | the process's log                                                              |
//! | `house.rs`       | joins the rooms: models, engine, query path, generators                         |
//! | `snapshots.rs`   | where snapshots are kept: a folder, or S3                                       |
//! | `first_start.rs` | the first keys of a data folder                                                 |
//! | `server.rs`      | every service on one port, TLS, reflection, health, shutdown                    |
//! | `proto.rs`       | the contract, generated from `proto/`                                           |
//! | `auth.rs`        | who calls                                                                       |
//! | `call.rs`        | one call's deadline, and its stop when the caller leaves                        |
//! | `grpc.rs`        | the methods: who, parse, call, render, status                                   |
//! | `wire.rs`        | protobuf to domain and back                                                     |
//! | `status.rs`      | errors to statuses                                                              |
//!
//! Invariants: protobuf types live here only. Everything that comes in is checked in `wire`, once; everything that goes
//! wrong leaves through `status`. No client reads a path, another one's id or a document's text in an error.
#![forbid(unsafe_code)]

mod auth;
mod call;
pub mod cli;
pub mod config;
pub mod first_start;
mod grpc;
pub mod house;
pub mod log;
pub mod proto;
pub mod server;
pub mod snapshots;
mod status;
mod wire;
