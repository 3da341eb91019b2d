"""StyleGAN2 (Karras et al., arXiv 1912.04958): the mapping and synthesis networks, and the generator of both."""

from ..generators import NOISE_MODES, PRECISIONS, Label, Noise
from .generator import Generator, GeneratorConfig, standard_channels

__all__ = ["NOISE_MODES", "PRECISIONS", "Generator", "GeneratorConfig", "Label", "Noise", "standard_channels"]
