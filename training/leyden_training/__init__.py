"""Training of Leyden's own models: data, teacher, distillation and evaluation."""

import os

# transformers says at every import, in every worker, that torchvision is not there. Nothing here
# uses what it would be for.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
