//! Generates the wire types from the committed descriptor set and our own protos, without protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, IncludeFileResolver};

const ENVOY: &str = "proto/envoy.fds";
const OWN: &[&str] = &["istio_ca.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);

    let set = descriptors()?;
    // The reflection pool reads the same set at run time.
    std::fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;

    let mut config = tonic_prost_build::Config::new();
    config
        // Ordered maps make encoding deterministic: equal messages give equal bytes, on
        // which version hashes and the skipping of unchanged resources rest.
        .btree_map(["."])
        // A payload is shared by every proxy it goes to: a reference count, not a copy.
        .bytes(["."])
        .compile_well_known_types()
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .include_file("mod.rs");
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .build_transport(true)
        .compile_fds_with_config(set, config)?;
    Ok(())
}

/// Envoy's descriptors and those of our own protos, in dependency order.
fn descriptors() -> Result<FileDescriptorSet, Box<dyn Error>> {
    let envoy = std::fs::read(ENVOY)?;
    let mut set = FileDescriptorSet::decode(envoy.as_slice())?;

    let mut resolver = ChainFileResolver::new();
    resolver.add(DescriptorSetFileResolver::new(set.clone()));
    resolver.add(IncludeFileResolver::new(PathBuf::from("proto")));
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(false).open_files(OWN)?;
    set.file.extend(compiler.file_descriptor_set().file);
    Ok(set)
}
