"""Edit images by a text: the latent mapper, and StyleCLIP's optimization and global directions."""

from .global_directions import DirectionConfig, Relevance, measure_relevance
from .mapper import LatentMapper
from .mapper_files import load_mapper, save_mapper
from .mapper_training import MapperConfig, MapperStep, MapperTraining, train_mapper
from .optimize import Optimization, OptimizeConfig, OptimizeStep, optimize_latents

__all__ = [
    "DirectionConfig",
    "LatentMapper",
    "MapperConfig",
    "MapperStep",
    "MapperTraining",
    "Optimization",
    "OptimizeConfig",
    "OptimizeStep",
    "Relevance",
    "load_mapper",
    "measure_relevance",
    "optimize_latents",
    "save_mapper",
    "train_mapper",
]
