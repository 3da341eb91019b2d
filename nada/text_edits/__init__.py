"""Latent codes moved by a text: the latent mapper, and StyleCLIP's optimization."""

from .mapper import LatentMapper
from .mapper_files import load_mapper, save_mapper
from .mapper_training import MapperConfig, MapperStep, MapperTraining, train_mapper
from .optimize import Optimization, OptimizeConfig, OptimizeStep, optimize_latents

__all__ = [
    "LatentMapper",
    "MapperConfig",
    "MapperStep",
    "MapperTraining",
    "Optimization",
    "OptimizeConfig",
    "OptimizeStep",
    "load_mapper",
    "optimize_latents",
    "save_mapper",
    "train_mapper",
]
