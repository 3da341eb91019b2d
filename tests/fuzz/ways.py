"""Ways to write files that `kills.py` kills: verbs of the command line, and the work of nodes with their store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import open_clip
import torch
from helpers.models import TINY_CLIP, alive, moved
from safetensors.torch import save_file

from nada.checkpoint import load_generator, save_generator, save_rosinality
from nada.clip.loading import load_clip
from nada.latents.rendering import generate
from nada.latents.sampling import sample_latents
from nada.pictures.convert import to_pil
from nada.runs.kept_run import KeptRun
from nada.runs.store import MapperStore, RunStore
from nada.stylegan2 import GeneratorConfig
from nada.styles.files import save_style
from nada.styles.preview import preview_of
from nada.styles.style import Style
from nada.text_edits import MapperConfig, train_mapper
from nada.training.config import AdaptConfig

Work = list[str] | Callable[[], None]
"""Arguments of `nada`; or a function that works in the current folder, where doing it again completes it."""
STORE = Path("store")  # folder of the nodes' runs
MODELS = ["--generator", "base.pt", "--clip", "clip", "--device", "cpu"]
TEXTS = ["--source", "photo", "--target", "sketch"]
ADAPT = ["adapt", *MODELS, *TEXTS, "--batch", "1", "--layers", "3", "--iterations", "6", "--quiet", "--out", "run"]
STATED = [*ADAPT, "--snapshot-every", "2"]
RESUME = ["adapt", "--resume", "run", "--device", "cpu", "--quiet"]
EDIT = ["--target", "sketch", "--iterations", "6", "--quiet", "--out", "run"]
INVERT = ["--middle", "--generator", "base.pt", "--w-iterations", "3", "--plus-iterations", "2", "--clip", "none"]
INVERT += ["--device", "cpu", "--quiet"]
LIKENESS = ["--tune", "2", "--save-likeness", "likeness.safetensors"]
MAPPER = ["mapper", *MODELS, *EDIT, "--batch", "1"]


@dataclass(frozen=True)
class Way:
    """Work to kill, in a folder with the models."""

    work: Work
    before: tuple[Work, ...] = ()
    """Work to do before, undisturbed."""
    resume: list[str] | None = None
    """Command that completes it, if it is not the same one."""


def adapt_on_node(steps: int = 6, seed: int = 0, limit: int = 1 << 30, cancelled_after: int | None = None) -> None:
    """Train as a node does.

    Args:
        steps: iterations of the run.
        seed: seed of its random draws; another seed is another run.
        limit: bytes that the store keeps besides this run.
        cancelled_after: number of the step after which Cancel is pressed.
    """
    config = AdaptConfig("photo", "sketch", batch=1, layers=3, iterations=steps, seed=seed)
    with mock.patch("nada.runs.kept_run.RunStore", partial(RunStore, limit=limit)):
        kept = KeptRun(STORE, load_generator("base.pt"), load_clip("clip"), config, moments=3)
        for step in kept:
            if step.iteration == cancelled_after:
                break
        kept.keep()


def train_mapper_on_node(seed: int = 0, limit: int = 1 << 30) -> None:
    """Train a mapper as a node does; arguments as for `adapt_on_node`."""
    generator, clip = load_generator("base.pt"), load_clip("clip")
    config = MapperConfig("sketch", iterations=6, batch=1, seed=seed)
    store = MapperStore(STORE, generator, clip, config, limit)
    if not store.find():
        *_, last = train_mapper(generator, clip, config)
        store.keep(last.mapper)


WAYS = {
    "adapt": Way(STATED, resume=RESUME),
    "adapt without snapshots": Way([*ADAPT, "--snapshot-every", "0"], resume=RESUME),
    "adapt --overwrite": Way([*ADAPT, "--snapshot-every", "0", "--seed", "1", "--overwrite"], (STATED,), resume=RESUME),
    "adapt --resume": Way([*RESUME, "--iterations", "6"], ([*STATED, "--iterations", "3"],)),
    "mapper": Way(MAPPER),
    "mapper --overwrite": Way([*MAPPER, "--seed", "1", "--overwrite"], (MAPPER,)),
    "optimize": Way(["optimize", *MODELS, *EDIT, "--count", "2"]),
    "direction": Way(
        ["direction", *MODELS, *TEXTS, "--samples", "2", "--candidates", "4", "--beta", "0", "--quiet", "--out", "run"]
    ),
    "generate": Way(["generate", "--generator", "base.pt", "--count", "3", "--device", "cpu", "--out", "run"]),
    "align": Way(["align", "photo.png", "--middle", "--size", "32", "--device", "cpu", "--out", "run"]),
    "invert": Way(["invert", "photo.png", *INVERT, "--out", "run"]),
    "photo": Way(["photo", "photo.png", *INVERT, *LIKENESS, "--style", "style.safetensors", "--out", "result.png"]),
    "convert": Way(["convert", "base.pt", "result.safetensors"]),
    "convert --overwrite": Way(
        ["convert", "adapted.safetensors", "result.pt", "--overwrite"], (["convert", "base.pt", "result.pt"],)
    ),
    "style diff": Way(["style", "diff", "base.pt", "adapted.safetensors", "result.safetensors", "--rank", "2"]),
    "style merge": Way(["style", "merge", "base.pt", "style.safetensors:0.5", "--out", "result.safetensors"]),
    "style show": Way(["style", "show", "style.safetensors", "--preview", "result.png"]),
    "pick": Way(["pick", "run", "2"], (STATED,)),
    "evaluate": Way(
        ["evaluate", *MODELS, "--target", "sketch", "--base", "none", "--count", "4", "--seeds", "2", "--batch", "2"]
    ),
    "node adapts": Way(adapt_on_node),
    "node adapts after Cancel": Way(adapt_on_node, (partial(adapt_on_node, cancelled_after=3),)),
    "node adapts longer": Way(adapt_on_node, (partial(adapt_on_node, steps=3),)),
    "node adapts, store full": Way(partial(adapt_on_node, seed=1, limit=1), (adapt_on_node, train_mapper_on_node)),
    "node trains a mapper": Way(train_mapper_on_node),
    "node trains a mapper, store full": Way(
        partial(train_mapper_on_node, seed=1, limit=1), (adapt_on_node, train_mapper_on_node)
    ),
}


def make_models(folder: Path) -> None:
    """A generator, its adaptation, a style, a photo and a CLIP, all tiny."""
    base = alive(GeneratorConfig(16, (24, 20, 16), z_dim=16, w_dim=16, mapping_layers=2))
    adapted = moved(base)
    save_rosinality(base, folder / "base.pt")
    save_generator(adapted, folder / "adapted.safetensors")
    save_style(Style.between(base, adapted, preview=preview_of(base, adapted)), folder / "style.safetensors")
    to_pil(generate(base, sample_latents(base, 1)))[0].save(folder / "photo.png")
    (folder / "clip").mkdir()
    (folder / "clip" / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    torch.manual_seed(1)
    weights = open_clip.create_model(f"local-dir:{folder / 'clip'}").state_dict()
    save_file(weights, folder / "clip" / "open_clip_model.safetensors")
