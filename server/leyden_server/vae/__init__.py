"""The third stage: latents become pixels, and pixels an image file."""
