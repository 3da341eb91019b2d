"""The state of a run under way, in memory and as a file, so that it can go on exactly as if it had never stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.metadata import RECIPE, strict_json
from ..checkpoint.own_files import read_own_description, read_own_file
from ..checkpoint.saving import write_safetensors
from ..errors import NadaError, UsageError

KEY, VERSION = "nada-run", 1
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam knows of a tensor
SHAPE = {  # of a state's description; what a whole run writes into its recipe is there
    "recipe": RECIPE | {"source": str, "target": str, "base": str, "iterations_done": int, "clip": RECIPE["clip?"]},
    "goal": {"source": str, "directions": [str], "targets": [str]},
    "layers": [str],
    "notes": dict,
    "key?": str,
}
FREE = {"iterations", "iterations_done", "cuda_graphs"}  # of a recipe: may differ between a run and its continuation


@dataclass(frozen=True)
class RunState:
    """Everything that a run needs beside its base generator and its CLIP models.

    Attributes:
        tensors: {name: tensor} on the CPU: what is trained, Adam's averages, and the random state.
        recipe: of the run so far.
        goal: what it aims at, from `Goal.packed`.
        layers: trained in the last step, which the next ones may go on with.
        notes: JSON-able, for whoever keeps the state: history, file names.
        key: cache key of the run, for whoever keeps the state.
    """

    tensors: dict[str, Tensor]
    recipe: dict[str, Any]
    goal: dict[str, Any]
    layers: tuple[str, ...]
    notes: dict[str, Any] = field(default_factory=dict)
    key: str = ""


def optimizer_tensors(optimizer: torch.optim.Adam, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Named copies of the trained tensors, and of what Adam knows of each that it has moved."""
    tensors = {}
    for name, leaf in leaves.items():
        tensors[f"trained.{name}"] = leaf.detach().cpu().clone()
        for moment, value in optimizer.state.get(leaf, {}).items():
            tensors[f"{moment}.{name}"] = value.detach().cpu().clone()
    return tensors


@torch.no_grad()
def restore_optimizer(optimizer: torch.optim.Adam, leaves: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Put them back.

    Raises:
        NadaError: a tensor is missing, of another shape, or holds numbers that no training leaves: it would fail at
            every attempt to continue.
    """
    for name, leaf in leaves.items():
        leaf.copy_(_saved(tensors, f"trained.{name}", leaf.shape))
        if f"step.{name}" in tensors:
            step = _saved(tensors, f"step.{name}", torch.Size([]), low=0).clone()
            average = _saved(tensors, f"exp_avg.{name}", leaf.shape)
            square = _saved(tensors, f"exp_avg_sq.{name}", leaf.shape, low=0)
            averages = (part.to(leaf, copy=True) for part in (average, square))
            optimizer.state[leaf] = dict(zip(MOMENTS, [step, *averages], strict=True))


def _saved(tensors: Mapping[str, Tensor], name: str, shape: torch.Size, low: float = -inf) -> Tensor:
    """A tensor of a state with ordinary numbers that are not below `low`."""
    saved = tensors.get(name)
    if saved is None or saved.shape != shape:
        found = "missing" if saved is None else f"of shape {list(saved.shape)}"
        raise NadaError(f"the state of the run is damaged: {name} is {found}; expected {list(shape)}")
    numbers = saved.float()
    if not (saved.is_floating_point() and numbers.isfinite().all() and (numbers >= low).all()):
        raise NadaError(f"the state of the run is damaged: {name} holds impossible numbers")
    return saved


def refuse_another(state: RunState, recipe: Mapping[str, Any]) -> None:
    """Make sure that a run may continue from a state.

    Args:
        state: of the run.
        recipe: of the continuation, from `Adaptation.recipe`.

    Raises:
        UsageError: it started from another generator, has other CLIP models or other settings.
    """
    if state.recipe.get("base") != recipe["base"]:
        raise UsageError("the run started from another base generator; give the one that it was started with")
    ours, theirs = _comparable(recipe), _comparable(state.recipe)
    names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    if names:
        changes = ", ".join(f"{name} is {ours.get(name)!r} instead of {theirs.get(name)!r}" for name in names)
        raise UsageError(f"the run was started otherwise: {changes}. Only iterations and cuda_graphs may change")
    for saved, model in zip(state.recipe["clip"], recipe["clip"], strict=True):
        if saved.get("fingerprint", model["fingerprint"]) != model["fingerprint"]:
            raise UsageError(
                f"the CLIP model {model['name']} has other weights than when the run was started; give the same one"
            )


def _comparable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal in a run and its continuation; weights of CLIP models are compared by themselves."""
    clip = [{name: model.get(name) for name in ("name", "weight")} for model in recipe.get("clip", ())]
    return {name: value for name, value in recipe.items() if name not in FREE} | {"clip": clip}


def save_state(state: RunState, path: str | os.PathLike[str]) -> None:
    """Write a state as safetensors; the file appears whole or not at all."""
    described = {"recipe": state.recipe, "goal": state.goal, "layers": list(state.layers), "notes": state.notes}
    described["key"] = state.key
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    write_safetensors(tensors, {KEY: strict_json({"format": VERSION, **described})}, path)


def load_state(path: str | os.PathLike[str]) -> RunState:
    """Read a state.

    Raises:
        NadaError: the file does not exist, is not a state, is damaged, or was written by a later version.
    """
    if not Path(path).is_file():
        raise NadaError(f"{path} does not exist; only a run with snapshots, or one that was stopped, can go on")
    description, tensors = read_own_file(path, KEY, VERSION, "run state", SHAPE)
    recipe, goal, layers, notes = (description[key] for key in ("recipe", "goal", "layers", "notes"))
    return RunState(tensors, recipe, goal, tuple(layers), notes, description.get("key", ""))


def state_key(path: str | os.PathLike[str]) -> str:
    """The cache key in a state file; "" if it has none or cannot be read."""
    return str(_description(path).get("key", ""))


def is_on_the_way(path: str | os.PathLike[str]) -> bool:
    """Whether a state file is from before the end of its run; False if it cannot be read."""
    recipe = _description(path).get("recipe", {})
    return recipe.get("iterations_done", 0) < recipe.get("iterations", 0)


def _description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a state file says of itself; {} if it cannot be read."""
    try:
        return read_own_description(path, KEY, VERSION, "run state", SHAPE)
    except (NadaError, OSError):
        return {}
