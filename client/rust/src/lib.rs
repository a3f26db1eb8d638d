//! Client of Leyden, a gRPC model server for SDXL-Lightning.
//!
//! ```no_run
//! use leyden_client::{Client, GenerateRequest};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::new("127.0.0.1:8001")?;
//!     let request = GenerateRequest::new("a lighthouse at dusk").seed(7);
//!     let generated = client.generate(request).finish().await?;
//!     std::fs::write("lighthouse.png", &generated.images[0].data)?;
//!     Ok(())
//! }
//! ```
//!
//! [`Client::generate`] gives a [`Generation`], a `Stream` of each [`Event`] as it comes: the place
//! in the queue, every denoise step, previews, the images, and what they cost. Every failure is an
//! [`Error`], with a variant for each kind.
//!
//! # Leaving a generation
//!
//! Dropping a [`Generation`] ends its work on the server. A drop cannot wait, so the cancellation
//! is sent by a task of its own: [`Generation::cancel`] waits for it, and [`Client::flush`] for all
//! that were dropped, which matters where the program ends right after. The same holds for a future
//! that owns the generation, so tokio's own means apply as they are:
//!
//! ```no_run
//! # async fn example(client: leyden_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use leyden_client::GenerateRequest;
//! use tokio_util::sync::CancellationToken;
//!
//! let token = CancellationToken::new();
//! let generation = client.generate(GenerateRequest::new("a lake"));
//! let generated = token.run_until_cancelled(generation.finish()).await;
//!
//! let generation = client.generate(GenerateRequest::new("a lake"));
//! let generated = tokio::time::timeout(Duration::from_secs(20), generation.finish()).await;
//! # Ok(()) }
//! ```
//!
//! # Fields are checked by the compiler
//!
//! ```compile_fail,E0599
//! # use leyden_client::GenerateRequest;
//! GenerateRequest::new("a lake").num_inference_step(4);
//! ```
//!
//! The same, spelt right:
//!
//! ```
//! # use leyden_client::GenerateRequest;
//! GenerateRequest::new("a lake").num_inference_steps(4);
//! ```

mod assemble;
mod auth;
mod builder;
mod client;
mod error;
mod events;
mod follow;
mod generation;
mod health;
mod leaving;
mod models;
mod options;
mod pb;
mod request;
mod server_state;
mod status;
mod tls;
mod watch;
mod wire;

pub use builder::ClientBuilder;
pub use client::{Client, DEFAULT_TARGET};
pub use error::{Error, Failure, FieldViolation};
pub use events::{
    Bill, DenoiseProgress, Event, Generated, Image, ImageBill, Preview, Queued, RequestWarning,
    StepBill, Summary, TextEncoded,
};
pub use generation::Generation;
pub use models::{Model, ModelState};
pub use options::{OutputFormat, Solver};
pub use request::{GenerateRequest, PreviewOptions, WatchRequest};
pub use server_state::{GatewayState, ServerState, StageKind, StageState};
pub use tls::Tls;
pub use tonic::Code;
pub use watch::Watch;
