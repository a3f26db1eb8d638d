"""Published speeds of SDXL and its few-step kin, with their conditions and where they stand."""

from dataclasses import asdict, dataclass

__all__ = ["PUBLISHED", "Published", "published_dicts"]


@dataclass(frozen=True, slots=True)
class Published:
    """One figure that somebody else has published."""

    what: str
    gpu: str
    figure: str
    conditions: str
    source: str


TENSORRT_SDXL = "https://huggingface.co/stabilityai/stable-diffusion-xl-1.0-tensorrt"
TENSORRT_TURBO = "https://huggingface.co/stabilityai/sdxl-turbo-tensorrt"
STABLE_FAST = (
    "https://github.com/chengzeyi/stable-fast, README, table H100; derived: 1 / (2 x it/s), "
    "since an iteration with guidance is two rows (14.9, 18.5 and 21.6 it/s)"
)
MLPERF_V4_1 = "https://github.com/mlcommons/inference_results_v4.1, open division"
MLPERF_V5_1 = "https://github.com/mlcommons/inference_results_v5.1, closed division"

PUBLISHED = (
    Published(
        "UNet forward, eager", "H100", "33.6 ms a row", "1024 x 1024, fp16, torch 2.1", STABLE_FAST
    ),
    Published(
        "UNet forward, torch.compile",
        "H100",
        "27.0 ms a row",
        "1024 x 1024, fp16, torch 2.1, max-autotune",
        STABLE_FAST,
    ),
    Published(
        "UNet forward, stable-fast", "H100", "23.1 ms a row", "1024 x 1024, fp16", STABLE_FAST
    ),
    Published(
        "TensorRT, SDXL-LCM, 4 steps",
        "H100",
        "234.2 ms an image (CLIP 0.8, UNet 102.8, VAE 127.0)",
        "1024 x 1024, batch 1",
        TENSORRT_SDXL,
    ),
    Published(
        "TensorRT, SDXL-LCM, 4 steps",
        "A100",
        "426.2 ms an image (CLIP 1.1, UNet 192.0, VAE 228.3)",
        "1024 x 1024, batch 1",
        TENSORRT_SDXL,
    ),
    Published(
        "TensorRT, SDXL-Turbo, 4 steps",
        "H100",
        "83.8 ms an image (CLIP 0.8, UNet 48.9, VAE 30.4)",
        "512 x 512, batch 1",
        TENSORRT_TURBO,
    ),
    Published(
        "TensorRT, SDXL-Turbo, 4 steps",
        "A100",
        "138.6 ms an image (CLIP 1.0, UNet 79.3, VAE 53.7)",
        "512 x 512, batch 1",
        TENSORRT_TURBO,
    ),
    Published(
        "MLPerf v4.1 open, SDXL-LCM, 4 steps",
        "H200",
        "10.79 images/s",
        "1024 x 1024, FP8 UNet, offline, no guidance",
        MLPERF_V4_1,
    ),
    Published(
        "MLPerf v5.1 closed, SDXL, 20 steps",
        "H100, H200, B200",
        "2.26, 2.40, 4.07 images/s a GPU",
        "1024 x 1024, FP8, guidance (two rows an image)",
        MLPERF_V5_1,
    ),
    Published(
        "diffusers, SDXL, 30 steps",
        "A100",
        "fp32 7.36 s, bf16 4.63, SDPA 3.31, compiled and channels_last 2.54 an image",
        "1024 x 1024, guidance, batch 1",
        "https://huggingface.co/docs/diffusers/tutorials/fast_diffusion",
    ),
)


def published_dicts() -> list[dict[str, str]]:
    """Return what the JSON has."""
    return [asdict(one) for one in PUBLISHED]
