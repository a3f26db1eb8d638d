//! Makes the stubs of the client from a compiled image of the protos.
//!
//! The image is what `buf build` writes, so that buf alone reads protos, and no protoc is needed:
//!
//! ```text
//! buf build ../../protos --path ../../protos/leyden -o - | cargo run -p leyden-client-stubs -- FOLDER
//! ```

use std::error::Error;
use std::io::Read;
use std::path::PathBuf;

use prost::Message;
use tonic_prost_build::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("name a folder")?.into();
    let mut image = Vec::new();
    std::io::stdin().read_to_end(&mut image)?;
    let mut protos = FileDescriptorSet::decode(&image[..])?;
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
