"""Pictures from the stock pipeline, and sheets of them to look at."""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image, ImageDraw

__all__ = ["USUAL_PROMPTS", "contact_sheet", "load_pipeline"]

USUAL_PROMPTS = (
    "A serene mountain lake at sunrise, soft lighting, peaceful atmosphere",
    "A beautiful sunset over mountains, cinematic lighting",
    "a city skyline at night with lit windows and stars, photograph",
    "desert dunes at sunset, oil painting",
    "a sailboat on the ocean at sunset",
    "a pine forest in the morning, anime style",
    "snow-capped mountains under a clear blue sky, photograph",
    "a cabin by a lake at night, starry sky",
    "green hills with trees on a cloudy day, oil painting",
    "concept art of a desert at sunrise",
    "a calm ocean at night under the moon",
    "a city at sunset, anime style",
)
CAPTION_PX = 26


def load_pipeline(folder: Path) -> StableDiffusionXLPipeline:
    """Load a diffusers SDXL folder in float32 on the best device there is."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=torch.float32, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def contact_sheet(
    pipeline: StableDiffusionXLPipeline,
    prompts: Sequence[str],
    *,
    steps: int,
    guidance_scale: float,
    width_px: int,
    height_px: int,
    seed: int,
    columns: int = 4,
) -> Image.Image:
    """One picture for each prompt, with the prompt below it; picture i has seed + i."""
    pictures = pipeline(
        list(prompts),
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        width=width_px,
        height=height_px,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(len(prompts))],
    ).images
    return lay_out(pictures, prompts, columns)


def lay_out(pictures: Sequence[Image.Image], captions: Sequence[str], columns: int) -> Image.Image:
    """Lay out a grid of pictures of one size, each with its caption below it."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + CAPTION_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = index % columns * width, index // columns * (height + CAPTION_PX)
        sheet.paste(picture, (left, top))
        letters = width // 6
        lines = [caption[i : i + letters] for i in range(0, len(caption), letters)][:2]
        draw.multiline_text((left + 2, top + height), "\n".join(lines), fill="black", spacing=0)
    return sheet
