//! What a server does now.

use std::time::Duration;

/// Which stage of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StageKind {
    /// One that this client does not know.
    #[default]
    Unspecified,
    /// Both text encoders.
    TextEncoder,
    /// The UNet.
    Denoiser,
    /// The VAE, and the encoding of image files.
    Vae,
}

/// A stage over all of its replicas.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StageState {
    /// That of its Serve application; in a server of one process, what that would be.
    pub name: String,
    /// Which stage of a model it is.
    pub kind: StageKind,
    /// Names of the models that share it.
    pub models: Vec<String>,
    /// Replicas that run.
    pub running_replicas: i32,
    /// Replicas that there are to be now.
    pub wanted_replicas: i32,
    /// Prompts (of text encoders) or images that its replicas work on.
    pub running_count: i32,
    /// Prompts or images that wait for it; for a denoiser in the Gateways' lines too.
    pub waiting_count: i32,
    /// The part of the last 10 s in which its model ran, from 0 to 1: the mean over its replicas.
    /// `None`: none of them has answered.
    pub busy_share: Option<f64>,
    /// Why it is gone. Empty: it is there, is started, or rests.
    pub problem: String,
}

/// A process of the server that speaks gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayState {
    /// Its name, as [`Bill::gateway_replica`](crate::Bill::gateway_replica).
    pub replica: String,
    /// For how long it has been there.
    pub uptime: Duration,
    /// Whether it refuses new requests because it ends.
    pub draining: bool,
    /// Calls that watch a generation.
    pub open_stream_count: i32,
    /// Images that it has accepted and no denoise step has begun for.
    pub waiting_image_count: i32,
}

/// What a server does now.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServerState {
    /// The stages of all loaded models, each once, a model's in the order in which an image goes
    /// through them.
    pub stages: Vec<StageState>,
    /// Those whose lines are counted, the one that has answered first.
    pub gateways: Vec<GatewayState>,
    /// Name of the stage that holds up the others. Empty: none does.
    pub bottleneck: String,
    /// Why, or why none does.
    pub bottleneck_reason: String,
}
