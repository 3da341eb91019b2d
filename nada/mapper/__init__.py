"""The latent mapper of StyleGAN-NADA and StyleCLIP: its network, its training, its files."""

from .files import load_mapper, save_mapper
from .network import LatentMapper
from .training import MapperConfig, MapperStep, MapperTraining, train_mapper

__all__ = [
    "LatentMapper",
    "MapperConfig",
    "MapperStep",
    "MapperTraining",
    "load_mapper",
    "save_mapper",
    "train_mapper",
]
