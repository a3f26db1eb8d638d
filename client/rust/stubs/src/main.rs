//! Makes the stubs of the client: `cargo run -p leyden-client-stubs`, with buf on the PATH
//! (`pip install buf-bin`), which alone reads protos, so that no protoc is needed. A folder as
//! argument gets them in the place of the client's own.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use prost::Message;
use tonic_prost_build::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => client.join("src/generated"),
    };
    let mut protos = compiled(&client.join("../../protos"))?;
    for file in &mut protos.file {
        // Comments: rustdoc would take their indented lines for tests, and nobody reads them here.
        file.source_code_info = None;
    }
    std::fs::create_dir_all(&folder)?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        // An image is not copied on its way to the caller.
        .bytes(".")
        .out_dir(folder)
        .compile_fds(protos)?;
    Ok(())
}

fn compiled(protos: &Path) -> Result<FileDescriptorSet, Box<dyn Error>> {
    let built = Command::new("buf")
        .args(["build", "--path", "leyden", "-o", "-"])
        .current_dir(protos)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("buf: {error}"))?;
    if !built.status.success() {
        return Err(format!("buf build: {}", built.status).into());
    }
    Ok(FileDescriptorSet::decode(&built.stdout[..])?)
}
