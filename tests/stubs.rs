//! The committed stubs are what `proto/` says. `LOCKBROKER_WRITE_STUBS=1 cargo test --test stubs`
//! writes them anew after a change there.

use std::fs;
use std::path::Path;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/rust/src/proto");

fn generate(into: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = protox::compile([root.join("lockbroker/v1/lockbroker.proto")], [&root]).unwrap();
    tonic_prost_build::configure()
        .codec_path("crate::proto::SmallCodec")
        .out_dir(into)
        .file_descriptor_set_path(into.join("lockbroker.v1.bin"))
        .server_mod_attribute("lockbroker.v1", "#[cfg(feature = \"server\")]")
        .compile_fds(descriptors.clone())
        .unwrap();
    // Reflection needs no comments.
    let mut bare = descriptors;
    bare.file.iter_mut().for_each(|file| file.source_code_info = None);
    fs::write(into.join("lockbroker.v1.bin"), prost::Message::encode_to_vec(&bare)).unwrap();
}

#[test]
fn committed_stubs_are_those_that_the_proto_gives() {
    if std::env::var_os("LOCKBROKER_WRITE_STUBS").is_some() {
        generate(Path::new(COMMITTED));
    }
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    for file in ["lockbroker.v1.rs", "lockbroker.v1.bin"] {
        let committed = fs::read(Path::new(COMMITTED).join(file)).unwrap_or_default();
        assert!(
            committed == fs::read(fresh.path().join(file)).unwrap(),
            "clients/rust/src/proto/{file} is stale: run `LOCKBROKER_WRITE_STUBS=1 cargo test --test stubs`"
        );
    }
}
