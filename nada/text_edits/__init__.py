"""Latent codes moved by a text: the latent mapper, and StyleCLIP's optimization."""
