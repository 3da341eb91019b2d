"""CLIP: models that score images by text, their embeddings and directions."""
