//! Compiles the contract in `proto/` with a protobuf compiler in Rust, so that no `protoc` is needed, and keeps its
//! descriptors for reflection.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use protox::prost::Message;

const CONTRACT: [&str; 7] = [
    "ibid/v1/tenant.proto",
    "ibid/v1/key.proto",
    "ibid/v1/collection.proto",
    "ibid/v1/document.proto",
    "ibid/v1/search.proto",
    "ibid/v1/answer.proto",
    "ibid/v1/operations.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let descriptors = protox::compile(CONTRACT, ["proto"])?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Metadata maps are written in the order of their names: equal replies are equal bytes.
        .btree_map(".")
        // Contents are sliced and handed on without being copied.
        .bytes(".")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
