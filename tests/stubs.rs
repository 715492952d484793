//! The committed stubs are what `proto/` says. `LOCKBROKER_WRITE_STUBS=1 cargo test --test stubs`
//! writes them anew after a change there.

#[path = "stubs/openapi.rs"]
mod openapi;

use std::fs;
use std::path::Path;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/rust/src/proto");
const HOW: &str = "run `LOCKBROKER_WRITE_STUBS=1 cargo test --test stubs`";
/// The description of the HTTP door.
const OPENAPI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/server/door/openapi.json");

/// Makes the stubs, and returns the description of the HTTP door.
fn generate(into: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = protox::compile([root.join("lockbroker/v1/lockbroker.proto")], [&root]).unwrap();
    tonic_prost_build::configure()
        .codec_path("crate::proto::SmallCodec")
        .out_dir(into)
        .file_descriptor_set_path(into.join("lockbroker.v1.bin"))
        .server_mod_attribute("lockbroker.v1", "#[cfg(feature = \"server\")]")
        .compile_fds(descriptors.clone())
        .unwrap();
    let openapi = openapi::openapi(&descriptors);
    // Reflection needs no comments.
    let mut bare = descriptors;
    bare.file.iter_mut().for_each(|file| file.source_code_info = None);
    fs::write(into.join("lockbroker.v1.bin"), prost::Message::encode_to_vec(&bare)).unwrap();
    openapi
}

#[test]
fn committed_stubs_are_those_that_the_proto_gives() {
    if std::env::var_os("LOCKBROKER_WRITE_STUBS").is_some() {
        fs::write(OPENAPI, generate(Path::new(COMMITTED))).unwrap();
    }
    let fresh = tempfile::tempdir().unwrap();
    let openapi = generate(fresh.path());
    assert!(fs::read_to_string(OPENAPI).unwrap_or_default() == openapi, "{OPENAPI} is stale: {HOW}");
    for file in ["lockbroker.v1.rs", "lockbroker.v1.bin"] {
        let committed = fs::read(Path::new(COMMITTED).join(file)).unwrap_or_default();
        assert!(
            committed == fs::read(fresh.path().join(file)).unwrap(),
            "clients/rust/src/proto/{file} is stale: {HOW}"
        );
    }
}
