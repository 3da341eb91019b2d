"""The latent mapper of StyleGAN-NADA and StyleCLIP: its network, its training, its files."""

from ..text_edits.mapper import LatentMapper
from ..text_edits.mapper_files import load_mapper, save_mapper
from ..text_edits.mapper_training import MapperConfig, MapperStep, MapperTraining, train_mapper

__all__ = [
    "LatentMapper",
    "MapperConfig",
    "MapperStep",
    "MapperTraining",
    "load_mapper",
    "save_mapper",
    "train_mapper",
]
