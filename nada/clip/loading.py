"""Load CLIP models through open_clip: by name, tag, file or folder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import torch

from .. import demo
from ..errors import NadaError, UsageError
from ..files import CACHE
from ..published.catalog import PUBLISHED_CLIPS, PublishedClip
from ..published.download import Progress, clip_file
from .models import ClipEnsemble, ClipModel

log = logging.getLogger(__name__)
PAPER_SPEC = "ViT-B/32,ViT-B/16"  # the paper's ensemble
CONFIG_FILE = "open_clip_config.json"
Fetch = Callable[[PublishedClip], Path]
SAFE_TORCH = (2, 10)  # the first release whose tensor-only reading of pickled files has no known hole


@dataclass(frozen=True)
class ClipSpec:
    """One entry of a specification: NAME, NAME@TAG, NAME@FILE or FOLDER, each with an optional :WEIGHT."""

    source: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> list[ClipSpec]:
        """Read "ViT-B/32:1,ViT-B/16:0.5"; entries with weight 0 cost nothing: they are left out.

        Raises:
            UsageError: an entry is empty, a weight is negative, or none is left.
        """
        specs = []
        for entry in text.split(","):
            match = re.fullmatch(r"\s*(.+?)(?::([-+.\deE]+))?\s*", entry)
            if not match:
                raise UsageError(f"{text!r} has an empty entry; write NAME[:WEIGHT],NAME[:WEIGHT]")
            try:
                weight = float(match[2] or 1)
            except ValueError:
                raise UsageError(f"the weight {match[2]!r} in {text!r} is not a number") from None
            if not 0 <= weight < float("inf"):
                raise UsageError(f"the weight of {match[1]!r} is {weight}; it must be 0 or more")
            if weight:
                specs.append(cls(match[1], weight))
        if not specs:
            raise UsageError(f"{text!r} gives every CLIP model the weight 0; at least one must count")
        return specs

    @property
    def name(self) -> str:
        """The source, a path in it shortened to its last part: names are written into files that are shared."""
        if self.source in demo.CLIPS:
            return self.source
        name, at, weights = self.source.partition("@")
        if at and Path(weights).is_file():
            return f"{name}@{Path(weights).name}"
        return os.path.basename(os.path.abspath(self.source)) if Path(self.source).is_dir() else self.source

    def parts(self) -> list[ClipSpec]:
        """The entry itself; of `demo`, its models, which share its weight."""
        if self.source != demo.NAME:
            return [self]
        return [ClipSpec(name, self.weight / len(demo.CLIPS)) for name in demo.CLIPS]


@torch.inference_mode(False)
def load_clip(
    spec: str = PAPER_SPEC,
    device: str | torch.device = "cpu",
    folder: str | Path = CACHE / "clip",
    progress: Progress | None = None,
) -> ClipEnsemble:
    """Load the CLIP models that a specification names.

    Args:
        spec: entries separated by commas, each with an optional weight (`ViT-B/32:1,ViT-B/16:0.5`). An entry is
            `demo` (the pair that comes with this package: `demo-conv` and `demo-vit` at half the weight each), an
            open_clip architecture (OpenAI's weights, downloaded on first use), `ARCHITECTURE@TAG` (other published
            weights), `ARCHITECTURE@FILE` (weights at hand; OpenAI's belong to the `-quickgelu` architectures), or a
            folder with `open_clip_config.json` and weights.
        device: where they shall live.
        folder: where OpenAI's weights are downloaded to.
        progress: called with the bytes so far, and in all, while such a file is downloaded.

    Raises:
        UsageError: a name, tag or path does not exist.
        NadaError: weights could not be downloaded or read.
    """
    fetch = partial(clip_file, folder=Path(folder).expanduser(), progress=progress)
    entries = [part for entry in ClipSpec.parse(spec) for part in entry.parts()]
    return ClipEnsemble([_load(entry, fetch) for entry in entries]).to(device)


def _load(spec: ClipSpec, fetch: Fetch) -> ClipModel:
    open_clip = _open_clip()
    architecture, weights = _resolve(spec.source, fetch)
    try:
        model = open_clip.create_model(architecture, pretrained=weights, require_pretrained=True, weights_only=True)
        tokenize = open_clip.get_tokenizer(architecture)
    except Exception as error:  # open_clip passes on whatever its readers and its network library raise
        local = weights is None or Path(weights).is_file()
        reason = f"cannot be read: {str(error)[:300]}" if local else "is not on this machine and cannot be downloaded"
        raise NadaError(
            f"the CLIP model {spec.source!r} {reason}. Check the {'file' if local else 'network'}, or give a folder "
            f"with {CONFIG_FILE} and weights, or ARCHITECTURE@FILE, or 'demo'"
        ) from error
    return ClipModel(spec.name, spec.weight, model, tokenize)


def _open_clip() -> ModuleType:
    """The module: it takes seconds to import, so only when a model is wanted.

    Raises:
        NadaError: it is missing, or what it imports does not fit together.
    """
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:  # torchvision raises the latter if it was built for another torch
        raise NadaError(
            f"open_clip cannot be imported ({str(error)[:200]}). Install this project's requirements with the Python "
            "that runs it; if torchvision is named, install torch and torchvision anew together"
        ) from error
    return open_clip


def _resolve(source: str, fetch: Fetch) -> tuple[str, str | None]:
    """The architecture and weights that open_clip knows for an entry; a folder holds both."""
    from open_clip import get_pretrained_cfg, list_models, list_pretrained_tags_by_model

    folder = demo.CLIPS.get(source, Path(source))
    if folder.is_dir():
        if not (folder / CONFIG_FILE).is_file():
            raise UsageError(f"the folder {source!r} holds no {CONFIG_FILE}; it must, beside the weights")
        return f"local-dir:{folder}", None

    name, _, weights = source.partition("@")
    architecture = name.replace("/", "-")
    if architecture not in list_models():
        near = [m for m in list_models() if m.lower().startswith(architecture.lower()[:5])]
        hint = f"; near it are {', '.join(near[:6])}" if near else ""
        raise UsageError(f"there is no CLIP architecture {name!r}{hint}. Examples: ViT-B/32, ViT-B/16, RN50, demo")
    if weights and Path(weights).is_file():
        _check_weights(Path(weights))
        return architecture, weights
    tag = weights or "openai"
    # OpenAI, and some others, trained with an activation that only the quickgelu architecture has; open_clip lists
    # such weights under both names, and says in their entry which one is right.
    plain = architecture.removesuffix("-quickgelu")
    quickgelu = f"{plain}-quickgelu"
    published = [(a, t) for a in (plain, quickgelu) for t in list_pretrained_tags_by_model(a)]
    for known, known_tag in published:
        if tag == known_tag and get_pretrained_cfg(known, tag).get("quick_gelu", False) == (known == quickgelu):
            for model in PUBLISHED_CLIPS:
                if (model.architecture, tag) == (known, "openai"):
                    return known, str(fetch(model))
            log.info("loading CLIP %s (%s); the first time, its weights are downloaded", known, tag)
            return known, tag
    choices = ", ".join(f"{a}@{t}" for a, t in published) or "none, so give a weights file"
    raise UsageError(f"{name} has no weights called {tag!r}, and no such file exists. Published are {choices}")


def _check_weights(path: Path) -> None:
    version = tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2])
    if path.suffix != ".safetensors" and version < SAFE_TORCH:
        raise NadaError(
            f"{path.name} is a pickled file, and PyTorch {torch.__version__} cannot read those safely; "
            f"update PyTorch to {'.'.join(map(str, SAFE_TORCH))} or later, or convert it to .safetensors"
        )
