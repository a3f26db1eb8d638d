"""Training of Leyden's own models: data, teacher, distillation and evaluation."""
