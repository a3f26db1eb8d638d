"""OpenAI's images API: decodes requests and encodes events, and does nothing else."""
