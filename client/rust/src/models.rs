//! The models of a server, and what each accepts.

use crate::options::{OutputFormat, Solver};

/// Whether a model can be used now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelState {
    /// One that this client does not know.
    #[default]
    Unspecified,
    /// Serves requests; one that comes after a long rest may wait for a stage to start.
    Ready,
    /// Being loaded.
    Loading,
    /// In the repository, but not loaded; [`Model::files_present`] says whether it could be.
    Unavailable,
    /// Being unloaded: new requests are refused, those that were accepted finish.
    Unloading,
}

/// A model and what it accepts. All ranges are inclusive.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Model {
    /// Name, as [`GenerateRequest::model`](crate::GenerateRequest::model) takes it.
    pub name: String,
    /// One line on what it is.
    pub description: String,
    /// Whether it can be used now.
    pub state: ModelState,
    /// Where the state is `Unavailable`: what is missing and how to get it, or why its last load
    /// failed. Where it is `Loading` although it was ready before: which stage has no running
    /// replica.
    pub unavailable_reason: String,
    /// Whether a request that names no model gets this one.
    pub is_default: bool,
    /// What identifies its UNet, as `Summary::model_revision`; empty unless it is loaded.
    pub revision: String,
    /// Licence of the weights: an SPDX id where there is one.
    pub license: String,
    /// Native width in pixels.
    pub default_width_px: i32,
    /// Native height in pixels.
    pub default_height_px: i32,
    /// Smallest width and height in pixels.
    pub min_size_px: i32,
    /// Largest width and height in pixels.
    pub max_size_px: i32,
    /// Width and height are multiples of this, in pixels.
    pub size_multiple_px: i32,
    /// Denoise steps of a request that does not say.
    pub default_num_inference_steps: i32,
    /// Fewest denoise steps.
    pub min_num_inference_steps: i32,
    /// Most denoise steps.
    pub max_num_inference_steps: i32,
    /// Guidance scale of a request that does not say.
    pub default_guidance_scale: f32,
    /// Smallest guidance scale.
    pub min_guidance_scale: f32,
    /// Largest guidance scale.
    pub max_guidance_scale: f32,
    /// Solvers that it can run, the default first.
    pub solvers: Vec<Solver>,
    /// Formats that it can send, the default first.
    pub output_formats: Vec<OutputFormat>,
    /// Most images of one request.
    pub max_image_count: i32,
    /// Length in tokens at which a prompt is cut; 0 where files of it are missing.
    pub max_prompt_tokens: i32,
    /// Whether it can send previews.
    pub previews: bool,
    /// Whether all of its files are at hand: if it is not loaded, nothing is left to fetch.
    pub files_present: bool,
    /// The words that it knows, where it was trained on few. Empty: they are not limited so.
    pub known_words: Vec<String>,
}
