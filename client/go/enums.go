package leyden

import (
	"strings"

	"leyden.ai/leyden-go/leydenv1"
)

// Solver is the rule of one denoise step. In a reply it may be one that this client does not know.
type Solver int32

// The solvers; a model says in its Solvers which it can run.
const (
	// SolverUnspecified is the model's default.
	SolverUnspecified = Solver(leydenv1.Solver_SOLVER_UNSPECIFIED)
	// SolverEuler is Euler's method: deterministic after the initial noise.
	SolverEuler = Solver(leydenv1.Solver_SOLVER_EULER)
	// SolverEulerAncestral is Euler with fresh noise at every step.
	SolverEulerAncestral = Solver(leydenv1.Solver_SOLVER_EULER_ANCESTRAL)
	// SolverLCM is latent consistency, for models distilled so: LCM, LCM-LoRA, DMD2.
	SolverLCM = Solver(leydenv1.Solver_SOLVER_LCM)
	// SolverTCD is trajectory consistency, for models distilled so: TCD, Hyper-SD.
	SolverTCD = Solver(leydenv1.Solver_SOLVER_TCD)
	// SolverDPMPP2M is DPM-Solver++ of second order, for models of many steps.
	SolverDPMPP2M = Solver(leydenv1.Solver_SOLVER_DPMPP_2M)
	// SolverDPMPP2MSDE is the same with fresh noise at every step.
	SolverDPMPP2MSDE = Solver(leydenv1.Solver_SOLVER_DPMPP_2M_SDE)
)

// String returns the name of the API in plain words, as euler.
func (s Solver) String() string { return plainName(leydenv1.Solver(s).String(), "SOLVER_") }

// OutputFormat is the encoding of an image. In a reply it may be one that this client does not know.
type OutputFormat int32

// The encodings.
const (
	// FormatUnspecified is the default that the field's comment names.
	FormatUnspecified = OutputFormat(leydenv1.OutputFormat_OUTPUT_FORMAT_UNSPECIFIED)
	// PNG is lossless.
	PNG = OutputFormat(leydenv1.OutputFormat_OUTPUT_FORMAT_PNG)
	// JPEG is small, fast and lossy.
	JPEG = OutputFormat(leydenv1.OutputFormat_OUTPUT_FORMAT_JPEG)
	// WebP is smaller, slower and lossy.
	WebP = OutputFormat(leydenv1.OutputFormat_OUTPUT_FORMAT_WEBP)
)

// String returns the name of the API in plain words, as png.
func (f OutputFormat) String() string {
	return plainName(leydenv1.OutputFormat(f).String(), "OUTPUT_FORMAT_")
}

// ModelState says whether a model can be used now. It may be one that this client does not know.
type ModelState int32

// The states of a model.
const (
	// ModelReady serves requests; one that comes after a long rest may wait for a stage to start.
	ModelReady = ModelState(leydenv1.ModelState_MODEL_STATE_READY)
	// ModelLoading is being loaded, or lacks a running replica of a stage.
	ModelLoading = ModelState(leydenv1.ModelState_MODEL_STATE_LOADING)
	// ModelUnavailable is in the repository, but not loaded.
	ModelUnavailable = ModelState(leydenv1.ModelState_MODEL_STATE_UNAVAILABLE)
	// ModelUnloading refuses new requests, and finishes those that were accepted.
	ModelUnloading = ModelState(leydenv1.ModelState_MODEL_STATE_UNLOADING)
)

// String returns the name of the API in plain words, as ready.
func (s ModelState) String() string {
	return plainName(leydenv1.ModelState(s).String(), "MODEL_STATE_")
}

// StageKind says which stage of a model it is. It may be one that this client does not know.
type StageKind int32

// The stages.
const (
	// StageTextEncoder is both text encoders.
	StageTextEncoder = StageKind(leydenv1.StageKind_STAGE_KIND_TEXT_ENCODER)
	// StageDenoiser is the UNet.
	StageDenoiser = StageKind(leydenv1.StageKind_STAGE_KIND_DENOISER)
	// StageVAE is the VAE, and the encoding of image files.
	StageVAE = StageKind(leydenv1.StageKind_STAGE_KIND_VAE)
)

// String returns the name of the API in plain words, as text_encoder.
func (k StageKind) String() string {
	return plainName(leydenv1.StageKind(k).String(), "STAGE_KIND_")
}

func plainName(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}
