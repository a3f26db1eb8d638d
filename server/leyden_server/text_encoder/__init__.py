"""The first stage: a prompt becomes embeddings."""
