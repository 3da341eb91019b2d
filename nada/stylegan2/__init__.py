"""StyleGAN2 (Karras et al., arXiv 1912.04958): the mapping and synthesis networks, and the generator of both."""

from .generator import Generator, GeneratorConfig, standard_channels
from .layers import Label
from .synthesis import NOISE_MODES, PRECISIONS, Noise

__all__ = ["NOISE_MODES", "PRECISIONS", "Generator", "GeneratorConfig", "Label", "Noise", "standard_channels"]
