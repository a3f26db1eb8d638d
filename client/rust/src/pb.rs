//! The messages and stubs of the API, made from its protos by the package `stubs`.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]

include!("generated/leyden.v1.rs");
