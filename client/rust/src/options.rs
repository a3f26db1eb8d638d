//! What a request may choose from.

use crate::pb;

/// Encoding of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputFormat {
    /// In a request: the server's default. In a reply: one that this client does not know.
    #[default]
    Unspecified,
    /// Lossless.
    Png,
    /// Small, fast, lossy.
    Jpeg,
    /// Smaller, slower, lossy.
    WebP,
}

impl OutputFormat {
    pub(crate) fn to_wire(self) -> pb::OutputFormat {
        match self {
            Self::Unspecified => pb::OutputFormat::Unspecified,
            Self::Png => pb::OutputFormat::Png,
            Self::Jpeg => pb::OutputFormat::Jpeg,
            Self::WebP => pb::OutputFormat::Webp,
        }
    }

    pub(crate) fn from_wire(wire: pb::OutputFormat) -> Self {
        match wire {
            pb::OutputFormat::Unspecified => Self::Unspecified,
            pb::OutputFormat::Png => Self::Png,
            pb::OutputFormat::Jpeg => Self::Jpeg,
            pb::OutputFormat::Webp => Self::WebP,
        }
    }
}

/// Rule of one denoise step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Solver {
    /// In a request: the model's default. In a reply: one that this client does not know.
    #[default]
    Unspecified,
    /// Euler's method: deterministic after the initial noise.
    Euler,
    /// Euler with fresh noise at every step, drawn from the image's own seed.
    EulerAncestral,
    /// Latent consistency, for models distilled so: LCM, LCM-LoRA, DMD2.
    Lcm,
    /// Trajectory consistency, for models distilled so: TCD, Hyper-SD.
    Tcd,
    /// DPM-Solver++ of second order, for models of many steps.
    Dpmpp2M,
    /// The same with fresh noise at every step, drawn from the image's own seed.
    Dpmpp2MSde,
}

impl Solver {
    pub(crate) fn to_wire(self) -> pb::Solver {
        match self {
            Self::Unspecified => pb::Solver::Unspecified,
            Self::Euler => pb::Solver::Euler,
            Self::EulerAncestral => pb::Solver::EulerAncestral,
            Self::Lcm => pb::Solver::Lcm,
            Self::Tcd => pb::Solver::Tcd,
            Self::Dpmpp2M => pb::Solver::Dpmpp2m,
            Self::Dpmpp2MSde => pb::Solver::Dpmpp2mSde,
        }
    }

    pub(crate) fn from_wire(wire: pb::Solver) -> Self {
        match wire {
            pb::Solver::Unspecified => Self::Unspecified,
            pb::Solver::Euler => Self::Euler,
            pb::Solver::EulerAncestral => Self::EulerAncestral,
            pb::Solver::Lcm => Self::Lcm,
            pb::Solver::Tcd => Self::Tcd,
            pb::Solver::Dpmpp2m => Self::Dpmpp2M,
            pb::Solver::Dpmpp2mSde => Self::Dpmpp2MSde,
        }
    }
}
