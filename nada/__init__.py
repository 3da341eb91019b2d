"""StyleGAN-NADA: adapt a StyleGAN2 generator to a new domain from two phrases, without a picture of that domain.

This example adapts the included small generator, and makes images with the result:

    import nada

    generator = nada.load_generator("demo")
    clip = nada.load_clip("demo")
    config = nada.AdaptConfig.for_generator(generator, source="photo", target="sketch")
    for step in nada.adapt(generator, clip, config):
        print(step.iteration, float(step.loss))
    nada.save_generator(step.generator, "sketch.safetensors")

    ws = nada.sample_latents(step.generator, count=4, seed=7)
    images = nada.generate(step.generator, ws)  # [4, 3, R, R] in about [-1, 1]
"""

import re
from importlib import metadata
from pathlib import Path

from .adapt import Adaptation, AdaptStep, adapt
from .checkpoint import file_stamp, inspect_file, load_generator, save_generator
from .clip.loading import load_clip
from .clip.models import ClipEnsemble
from .demo import GENERATORS as EMBEDDED
from .errors import CheckpointError, NadaError, UsageError, printable
from .latents.directions import Directions, edit_latents, load_direction, principal_directions
from .latents.files import latents_remark, load_latents, save_latents
from .latents.rendering import generate, generate_samples
from .latents.sampling import blend_latents, mix_latents, sample_latents
from .latents.smoothing import smooth_latents
from .latents.walks import EASINGS, METHODS, interpolate_latents
from .layer_freeze import PHASES
from .measure.demo_judge import judge_for
from .measure.evaluate import EvaluateConfig, evaluate, image_count, report
from .measure.judging import measures_for
from .photo.codes import Codes, load_codes, save_codes
from .photo.contract import Encoder
from .photo.invert import comparison, fitting_squares, inversion_errors, squares
from .photo.loop import PhotoState, load_photo_state, save_photo_state
from .photo.project import ProjectConfig, Projection, project
from .photo.tune import TuneConfig, Tuning, tune
from .published.catalog import PUBLISHED, Published, find_published
from .published.download import download
from .runs.folder import RunFolder
from .runs.kept_run import KeptRun
from .runs.names import result_name, slug
from .runs.out_of_memory import sparing
from .runs.snapshots import Snapshot, Snapshots
from .runs.store import MapperStore, PhotoStore
from .seeding import SOURCES as SEED_SOURCES
from .stylegan2 import PRECISIONS, Generator, GeneratorConfig
from .styles.blending import blend_generators
from .styles.files import load_style, save_style
from .styles.preview import preview_of, preview_picture
from .styles.style import Style, apply_style
from .text_edits import (
    DirectionConfig,
    LatentMapper,
    MapperConfig,
    MapperStep,
    MapperTraining,
    Relevance,
    load_mapper,
    measure_relevance,
    save_mapper,
    train_mapper,
)
from .text_edits.optimize import OptimizeConfig, optimize_latents
from .training.config import AdaptConfig
from .training.goal import Goal
from .training.presets import PRESETS, Preset
from .training.state import RunState, load_state, save_state

__all__ = [
    "EASINGS",
    "EMBEDDED",
    "METHODS",
    "PHASES",
    "PRECISIONS",
    "PRESETS",
    "PUBLISHED",
    "SEED_SOURCES",
    "AdaptConfig",
    "AdaptStep",
    "Adaptation",
    "CheckpointError",
    "ClipEnsemble",
    "Codes",
    "DirectionConfig",
    "Directions",
    "Encoder",
    "EvaluateConfig",
    "Generator",
    "GeneratorConfig",
    "Goal",
    "KeptRun",
    "LatentMapper",
    "MapperConfig",
    "MapperStep",
    "MapperStore",
    "MapperTraining",
    "NadaError",
    "OptimizeConfig",
    "PhotoState",
    "PhotoStore",
    "Preset",
    "ProjectConfig",
    "Projection",
    "Published",
    "Relevance",
    "RunFolder",
    "RunState",
    "Snapshot",
    "Snapshots",
    "Style",
    "TuneConfig",
    "Tuning",
    "UsageError",
    "adapt",
    "apply_style",
    "blend_generators",
    "blend_latents",
    "comparison",
    "download",
    "edit_latents",
    "evaluate",
    "file_stamp",
    "find_published",
    "fitting_squares",
    "generate",
    "generate_samples",
    "image_count",
    "inspect_file",
    "interpolate_latents",
    "inversion_errors",
    "judge_for",
    "latents_remark",
    "load_clip",
    "load_codes",
    "load_direction",
    "load_generator",
    "load_latents",
    "load_mapper",
    "load_photo_state",
    "load_state",
    "load_style",
    "measure_relevance",
    "measures_for",
    "mix_latents",
    "optimize_latents",
    "preview_of",
    "preview_picture",
    "principal_directions",
    "printable",
    "project",
    "report",
    "result_name",
    "sample_latents",
    "save_codes",
    "save_generator",
    "save_latents",
    "save_mapper",
    "save_photo_state",
    "save_state",
    "save_style",
    "slug",
    "smooth_latents",
    "sparing",
    "squares",
    "train_mapper",
    "tune",
]


def _version() -> str:
    """Return the version in pyproject.toml beside this package (a checkout, ComfyUI), else the installed version."""
    beside = Path(__file__).parents[1] / "pyproject.toml"
    text = beside.read_text("utf-8") if beside.is_file() else ""
    if found := re.search(r'^name = "stylegan-nada"\nversion = "(.+)"$', text, re.MULTILINE):
        return found[1]
    try:
        return metadata.version("stylegan-nada")
    except metadata.PackageNotFoundError:  # a copy of the folder alone
        return "unknown"


__version__ = _version()
