"""Load CLIP models through open_clip: by name, tag, file or folder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from .. import demo
from ..checkpoint.metadata import read_json
from ..checkpoint.not_models import LOADABLE
from ..errors import CheckpointError, NadaError, UsageError
from ..files import CACHE, storable
from ..published.catalog import PUBLISHED_CLIPS, PublishedClip
from ..published.download import Progress, clip_file
from ..settings import check_magnitude
from .models import ClipEnsemble, ClipModel
from .weights import Limited, Weights, fill, read_weights, weights_in

log = logging.getLogger(__name__)
PAPER_SPEC = "ViT-B/32,ViT-B/16"  # the paper's ensemble
CONFIG_FILE = "open_clip_config.json"
Fetch = Callable[[PublishedClip], Path]
ACTIVATION, PREPROCESSING = "quick_gelu", ("mean", "std", "interpolation")  # keys of open_clip's entries
# Options of a tokenizer that a folder may set. open_clip passes others on to transformers, which could run code.
TOKENIZER_OPTIONS = {"clean", "language", "reduction_mask", "strip_sep_token"}
ADVICE = (
    "Give an architecture with published weights, such as ViT-B/32, or ARCHITECTURE@FILE with weights under the names "
    f"of open_clip or OpenAI, or a folder with {CONFIG_FILE} and such weights, or 'demo'"
)
OLDEST = 3  # major version of open_clip: 2.x knows no models in folders, the demo's among them


@dataclass(frozen=True)
class ClipSpec:
    """One entry of a specification: NAME, NAME@TAG, NAME@FILE or FOLDER, each with an optional :WEIGHT."""

    source: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> list[ClipSpec]:
        """Parse a specification such as "ViT-B/32:1,ViT-B/16:0.5"; entries with weight 0 are left out.

        The path of a folder or file may hold a comma if the specification has no other entry.

        Raises:
            UsageError: an entry is empty, a weight is out of range, or none is left.
        """
        specs = []
        alone = os.path.isdir(text) or os.path.isfile(text.partition("@")[2])
        for entry in [text] if alone else text.split(","):
            match = re.fullmatch(r"\s*(.+?)(?::([-+.\deE]+))?\s*", entry)
            if not match:
                raise UsageError(f"{text!r} has an empty entry; write NAME[:WEIGHT],NAME[:WEIGHT]")
            try:
                weight = float(match[2] or 1)
            except ValueError:
                raise UsageError(f"the weight {match[2]!r} in {text!r} is not a number") from None
            if not 0 <= weight < float("inf"):
                raise UsageError(f"the weight of {match[1]!r} is {weight}; it must be 0 or more")
            check_magnitude(f"the weight of {match[1]!r}", weight)
            if weight:
                specs.append(cls(match[1], weight))
        if not specs:
            raise UsageError(f"{text!r} gives every CLIP model the weight 0; at least one must count")
        return specs

    @property
    def name(self) -> str:
        """The source with any path shortened to its last part, since names are written into files that are shared."""
        if self.source in demo.CLIPS:
            return self.source
        name, at, weights = self.source.partition("@")
        if at and Path(weights).is_file():
            return f"{name}@{storable(Path(weights).name)}"
        if Path(self.source).is_dir():
            return storable(os.path.basename(os.path.abspath(self.source)))
        return self.source

    def parts(self) -> list[ClipSpec]:
        """Return the entry itself, or for `demo` an entry for each of its models, which share its weight."""
        if self.source != demo.NAME:
            return [self]
        return [ClipSpec(name, self.weight / len(demo.CLIPS)) for name in demo.CLIPS]


def usual_clip(generator: str) -> str:
    """Return the default specification for a generator: the demo's for the included generators, else the paper's."""
    return demo.NAME if generator in demo.GENERATORS else PAPER_SPEC


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
            weights), `ARCHITECTURE@FILE` (a local weights file, such as OpenAI's own `.pt`), or a folder with
            `open_clip_config.json` and weights. Nothing in a weights file is ever executed.
        device: device to put the models on.
        folder: folder for downloads of OpenAI's weights.
        progress: called with the bytes downloaded so far, and in all, during such a download.

    Returns:
        The models, frozen, in the order of the specification.

    Raises:
        UsageError: a name, tag or path does not exist.
        NadaError: weights could not be downloaded or read.
    """
    fetch = partial(clip_file, folder=Path(folder).expanduser(), progress=progress)
    entries = [part for entry in ClipSpec.parse(spec) for part in entry.parts()]
    return ClipEnsemble([_load(entry, fetch) for entry in entries]).to(device)


@dataclass(frozen=True)
class _Source:
    """The architecture and weights of an entry, with open_clip's settings for them."""

    architecture: str
    """Name of the architecture in open_clip; "local-dir:FOLDER" for that of a folder."""
    weights: Path
    published: dict[str, dict[str, Any]]
    """open_clip's settings by tag: those of the published weights, or for a local file all of the architecture."""


def _load(spec: ClipSpec, fetch: Fetch) -> ClipModel:
    open_clip = _open_clip()
    try:
        source = _resolve(spec.source, fetch)
        weights = read_weights(source.weights)
        settings = _settings(source, weights)
        with _quiet(open_clip), Limited(weights):
            network = open_clip.create_model(source.architecture, load_weights=False, pretrained_text=False, **settings)
        fill(network, weights)
        model = ClipModel(spec.name, spec.weight, network, open_clip.get_tokenizer(source.architecture))
        if not source.published:
            with Limited(weights):
                _try(model)
        return model
    except CheckpointError as error:
        reason = str(error).replace(f"; {LOADABLE}", "")
        raise NadaError(f"the CLIP model {spec.source!r} cannot be read: {reason}. {ADVICE}") from error
    except NadaError:
        raise
    except Exception as error:  # open_clip passes on whatever a configuration makes its networks raise
        reason = ascii(str(error)[:300])
        raise NadaError(f"the CLIP model {spec.source!r} cannot be built: {reason}. {ADVICE}") from error


@torch.no_grad()
def _try(model: ClipModel) -> None:
    """Embed a text and an image: a configuration can describe a network that can be built but fails when used."""
    model.encode_text(["a"])
    model.encode_image(torch.zeros(1, 3, *model.size))


def _settings(source: _Source, weights: Weights) -> dict[str, Any]:
    """Return activation and preprocessing for `open_clip.create_model`, as far as all entries of the source agree."""
    entries = source.published
    undecided = [key for key in (ACTIVATION, *PREPROCESSING) if len({e.get(key) or None for e in entries.values()}) > 1]
    if undecided and "openai" in entries and weights.openai:
        entries, undecided = {"openai": entries["openai"]}, []
    if undecided:
        log.warning(
            "%s: the weights published for %s differ in %s; this file is read with the defaults (GELU, OpenAI's mean "
            "and std). If they are wrong for it, write %s-quickgelu@FILE, or give a folder with %s",
            weights.file, source.architecture, ", ".join(undecided), source.architecture, CONFIG_FILE,
        )  # fmt: skip
    agreed = next(iter(entries.values()), {})
    preprocessing = {key: agreed[key] for key in PREPROCESSING if key in agreed and key not in undecided}
    quick = bool(agreed.get(ACTIVATION)) and ACTIVATION not in undecided
    return {"force_quick_gelu": quick, "force_preprocess_cfg": preprocessing}


@contextmanager
def _quiet(open_clip: ModuleType) -> Iterator[None]:
    """Drop open_clip's log lines: they warn that a network has no weights, before it gets them here."""
    folder, root = Path(str(open_clip.__file__)).parent, logging.getLogger()
    elsewhere = lambda record: Path(record.pathname).parent != folder
    root.addFilter(elsewhere)
    try:
        yield
    finally:
        root.removeFilter(elsewhere)


def _open_clip() -> ModuleType:
    """Import open_clip, which takes seconds, only when a model is wanted.

    Raises:
        NadaError: it is missing or too old, or a package that it imports fails.
    """
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:  # torchvision raises the latter if it was built for another torch
        raise NadaError(
            f"open_clip cannot be imported ({str(error)[:200]}). Install this project's requirements with the Python "
            "that runs it; if torchvision is named, reinstall torch and torchvision together"
        ) from error
    version = getattr(open_clip, "__version__", "0")
    if int(version.partition(".")[0]) < OLDEST:
        raise NadaError(
            f"open_clip_torch {version} is installed, and {OLDEST}.0 or later is needed. Update it, with the Python "
            f'that runs this project: python -m pip install --upgrade "open_clip_torch>={OLDEST}.0"'
        )
    return open_clip


def local_weights(spec: str) -> list[Path]:
    """Return the weights files on this machine that a specification names, without published ones, for cache keys.

    Raises:
        UsageError: as `ClipSpec.parse`.
        CheckpointError: a folder holds no weights.
    """
    found = []
    for source in (part.source for entry in ClipSpec.parse(spec) for part in entry.parts()):
        folder, file = _folder(source), Path(source.partition("@")[2])
        found += [weights_in(folder)] if folder.is_dir() else [file] if file.is_file() else []
    return found


def _folder(source: str) -> Path:
    """Path of the folder that an entry names, which exists unless the entry names something else."""
    return demo.CLIPS.get(source, Path(source))


def _resolve(source: str, fetch: Fetch) -> _Source:
    """Find the architecture and the weights of an entry; download published weights."""
    from open_clip import get_pretrained_cfg, list_models, list_pretrained_tags_by_model

    folder = _folder(source)
    if folder.is_dir():
        if not (folder / CONFIG_FILE).is_file():
            raise UsageError(f"the folder {source!r} holds no {CONFIG_FILE}; it must, beside the weights")
        _check_tokenizer(folder / CONFIG_FILE)
        return _Source(f"local-dir:{folder}", weights_in(folder), {})

    name, _, weights = source.partition("@")
    architecture = name.replace("/", "-")
    if architecture not in list_models():
        near = [m for m in list_models() if m.lower().startswith(architecture.lower()[:5])]
        hint = f"; near it are {', '.join(near[:6])}" if near else ""
        raise UsageError(f"there is no CLIP architecture {name!r}{hint}. Examples: ViT-B/32, ViT-B/16, RN50, demo")
    # OpenAI, and some others, trained with an activation that only the quickgelu architecture has. open_clip lists
    # such weights under both names; the entry of the weights says which one is right.
    if weights and Path(weights).is_file():
        tags = list_pretrained_tags_by_model(architecture)
        return _Source(architecture, Path(weights), {tag: get_pretrained_cfg(architecture, tag) for tag in tags})
    tag = weights or "openai"
    plain = architecture.removesuffix("-quickgelu")
    quickgelu = f"{plain}-quickgelu"
    published = [(a, t) for a in (plain, quickgelu) for t in list_pretrained_tags_by_model(a)]
    for known, known_tag in published:
        entry = get_pretrained_cfg(known, known_tag)
        if tag == known_tag and bool(entry.get(ACTIVATION)) == (known == quickgelu):
            return _Source(known, _published_weights(known, tag, entry, fetch), {tag: entry})
    choices = ", ".join(f"{a}@{t}" for a, t in published) or "none, so give a weights file"
    raise UsageError(f"{name} has no weights called {tag!r}, and no such file exists. Published are {choices}")


def _check_tokenizer(config: Path) -> None:
    """Refuse a configuration with options of the tokenizer that could do more than change how it reads texts.

    Raises:
        CheckpointError: there is such an option, or the file is damaged.
    """
    settings = read_json(config.read_bytes())
    for key in ("model_cfg", "text_cfg", "tokenizer_kwargs"):
        settings = settings.get(key, {}) if isinstance(settings, dict) else None
    if not isinstance(settings, dict):
        raise CheckpointError(f"{CONFIG_FILE} is damaged: model_cfg, text_cfg and tokenizer_kwargs must be objects")
    if odd := settings.keys() - TOKENIZER_OPTIONS:
        raise CheckpointError(
            f"{CONFIG_FILE} sets {min(odd)!r} for the tokenizer, which could run code of the folder; allowed are "
            f"{', '.join(sorted(TOKENIZER_OPTIONS))}"
        )


def _published_weights(architecture: str, tag: str, entry: dict[str, Any], fetch: Fetch) -> Path:
    """Return the file of published weights, from this machine or from the network."""
    from open_clip import download_pretrained

    for model in PUBLISHED_CLIPS:
        if (model.architecture, "openai") == (architecture, tag):
            return fetch(model)
    log.info("loading CLIP %s (%s); the first time, its weights are downloaded", architecture, tag)
    try:
        return Path(download_pretrained(entry))
    except Exception as error:  # each network library raises errors of its own
        raise NadaError(
            f"the CLIP model {architecture}@{tag} is not on this machine and cannot be downloaded. Check the network. "
            f"{ADVICE}"
        ) from error
