"""Latent codes without text: sampling, mixing, walks, directions, and their images."""
