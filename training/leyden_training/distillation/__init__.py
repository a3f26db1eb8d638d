"""Progressive adversarial distillation, as in SDXL-Lightning (arXiv 2402.13929)."""
