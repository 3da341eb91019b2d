"""StyleGAN-NADA: adapt a StyleGAN2 generator to a new domain from two phrases, without one picture of that domain.

import nada

generator = nada.load_generator("demo")
clip = nada.load_clip("demo")
for step in nada.adapt(generator, clip, nada.AdaptConfig(source="photo", target="sketch")):
    print(step.iteration, float(step.loss))
nada.save_generator(step.generator, "sketch.safetensors")

ws = nada.sample_latents(step.generator, count=4, seed=7)
images = nada.generate(step.generator, ws)  # [4, 3, R, R] in about [-1, 1]
"""

from .adapt import Adaptation, AdaptStep, adapt
from .catalog import PUBLISHED, Published, find_published
from .checkpoint import file_stamp, inspect_file, load_generator, save_generator
from .clip import ClipEnsemble, load_clip
from .config import AdaptConfig
from .downloading import download
from .errors import CheckpointError, NadaError, UsageError
from .latents import generate, mix_latents, sample_latents
from .layer_freeze import PHASES
from .presets import PRESETS, Preset
from .resume import RunState, load_state, save_state
from .stylegan2 import Generator, GeneratorConfig
from .targets import Goal

__all__ = [
    "PHASES",
    "PRESETS",
    "PUBLISHED",
    "AdaptConfig",
    "AdaptStep",
    "Adaptation",
    "CheckpointError",
    "ClipEnsemble",
    "Generator",
    "GeneratorConfig",
    "Goal",
    "NadaError",
    "Preset",
    "Published",
    "RunState",
    "UsageError",
    "adapt",
    "download",
    "file_stamp",
    "find_published",
    "generate",
    "inspect_file",
    "load_clip",
    "load_generator",
    "load_state",
    "mix_latents",
    "sample_latents",
    "save_generator",
    "save_state",
]

__version__ = "0.1.0"
