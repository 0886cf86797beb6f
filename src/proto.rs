//! The contract, generated from `proto/ibid/v1/`: messages, clients and the traits that `grpc` implements. What a message
//! means is said in the `.proto` files.
#![allow(missing_docs, clippy::all, reason = "generated; documented in the .proto files")]

tonic::include_proto!("ibid.v1");

/// The contract's descriptors: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
