"""The state of a run, in memory and as a file, from which it resumes exactly as if it had never stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.metadata import RECIPE, header_json
from ..checkpoint.own_files import OwnKind, read_own_description, read_own_file
from ..checkpoint.saving import write_safetensors
from ..errors import NadaError, UsageError

KEY, VERSION = "nada-run", 1
STYLE = "style."  # prefix, before an index, of the names of a goal's styles
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")  # Adam's state of each tensor, by PyTorch's names
SHAPE = {  # schema of a state's description; a state always has the recipe entries that are optional elsewhere
    "recipe": RECIPE | {"source": str, "target": str, "base": str, "iterations_done": int, "clip": RECIPE["clip?"]},
    "goal": {"source": str, "directions": [str], "targets": [str]},
    "layers": [str],
    "notes": dict,
    "key?": str,
}
KIND = OwnKind(KEY, VERSION, "run state", SHAPE, max_header=1 << 26)  # the history of a run may be very long
FREE = {"iterations", "iterations_done", "cuda_graphs"}  # recipe entries that may differ when a run is resumed


@dataclass(frozen=True)
class RunState:
    """Everything needed to resume a run, except its base generator and its CLIP models.

    Attributes:
        tensors: {name: tensor} on the CPU: trained tensors, Adam's averages, and the random state.
        recipe: recipe of the run so far.
        goal: the goal, from `Goal.packed`.
        layers: names of the layers trained in the last iteration, which the next ones may continue to train.
        notes: JSON-serializable notes of the caller, such as history and file names.
        key: cache key of the run, or "".
    """

    tensors: dict[str, Tensor]
    recipe: dict[str, Any]
    goal: dict[str, Any]
    layers: tuple[str, ...]
    notes: dict[str, Any] = field(default_factory=dict)
    key: str = ""


def take_step(optimizer: torch.optim.Adam) -> None:
    """Take a step of Adam, which can be repeated if it fails.

    Adam creates its averages tensor by tensor in the first step. Those of a tensor that were only begun when memory ran
    out are deleted, because every later step, and every state saved meanwhile, would be broken. Without `fused`, as on
    GPUs, averages that were complete may have counted the failed step; they forget it within a few steps.
    """
    try:
        optimizer.step()
    except BaseException:
        for leaf in [leaf for leaf, averages in optimizer.state.items() if not {*ADAM_STATE} <= averages.keys()]:
            del optimizer.state[leaf]
        raise


def optimizer_tensors(optimizer: torch.optim.Adam, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy the trained tensors and Adam's state to the CPU, by name.

    Args:
        optimizer: the optimizer of `leaves`.
        leaves: the trained tensors by name.
    """
    tensors = {}
    for name, leaf in leaves.items():
        tensors[f"trained.{name}"] = leaf.detach().cpu().clone()
        for moment, value in optimizer.state.get(leaf, {}).items():
            tensors[f"{moment}.{name}"] = value.detach().cpu().clone()
    return tensors


@torch.no_grad()
def restore_optimizer(optimizer: torch.optim.Adam, leaves: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Restore the tensors saved by `optimizer_tensors`.

    Args:
        optimizer: the optimizer of `leaves`, whose state is replaced.
        leaves: the trained tensors by name, which are overwritten.
        tensors: what `optimizer_tensors` returned.

    Raises:
        NadaError: a tensor is missing, has another shape, or holds numbers that no training produces: the run would
            fail at every attempt to resume.
    """
    for name, leaf in leaves.items():
        leaf.copy_(_saved(tensors, f"trained.{name}", leaf.shape))
        if f"step.{name}" in tensors:
            step = _saved(tensors, f"step.{name}", torch.Size([]), low=0).clone()
            average = _saved(tensors, f"exp_avg.{name}", leaf.shape)
            square = _saved(tensors, f"exp_avg_sq.{name}", leaf.shape, low=0)
            averages = (part.to(leaf, copy=True) for part in (average, square))
            optimizer.state[leaf] = dict(zip(ADAM_STATE, [step, *averages], strict=True))


def style_tensors(styles: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the styles of a goal, which its packed form lacks, by names for a state."""
    return {f"{STYLE}{i}": features.cpu() for i, features in enumerate(styles)}


def saved_styles(tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Return what `style_tensors` was given.

    Raises:
        NadaError: a tensor has no three dimensions, or holds impossible numbers.
    """
    count = sum(name.startswith(STYLE) for name in tensors)
    names = [f"{STYLE}{i}" for i in range(count)]
    shapes = [tensors[name].shape if name in tensors else torch.Size() for name in names]
    if not all(len(shape) == 3 for shape in shapes):
        raise NadaError("the state of the run is damaged: it has no features of the style images")
    return tuple(_saved(tensors, name, shape) for name, shape in zip(names, shapes, strict=True))


def _saved(tensors: Mapping[str, Tensor], name: str, shape: torch.Size, low: float = -inf) -> Tensor:
    """A tensor of a state with ordinary numbers that are not below `low`."""
    saved = tensors.get(name)
    if saved is None or saved.shape != shape:
        found = "missing" if saved is None else f"of shape {list(saved.shape)}"
        raise NadaError(f"the state of the run is damaged: {name} is {found}; expected {list(shape)}")
    ordinary = saved.is_floating_point() and saved.element_size() > 1  # PyTorch cannot convert all smaller ones
    if not (ordinary and (numbers := saved.float()).isfinite().all() and (numbers >= low).all()):
        raise NadaError(f"the state of the run is damaged: {name} holds impossible numbers")
    return saved


def refuse_another(state: RunState, recipe: Mapping[str, Any]) -> None:
    """Check that a run can be resumed from a state.

    Args:
        state: the saved state.
        recipe: recipe of the resumed run, from `Adaptation.recipe`.

    Raises:
        UsageError: the saved run has another base generator, other CLIP models or other settings.
    """
    if state.recipe.get("base") != recipe["base"]:
        raise UsageError("the run started from another base generator; give the one that it was started with")
    ours, theirs = _comparable(recipe), _comparable(state.recipe)
    names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    if names:
        changes = ", ".join(f"{name} is {ours.get(name)!r} instead of {theirs.get(name)!r}" for name in names)
        raise UsageError(
            f"the run was started with other settings: {changes}. Only iterations and cuda_graphs may change"
        )
    for saved, model in zip(state.recipe["clip"], recipe["clip"], strict=True):
        if saved.get("fingerprint", model["fingerprint"]) != model["fingerprint"]:
            raise UsageError(
                f"the CLIP model {model['name']} has other weights than when the run was started; give the same one"
            )


def _comparable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe entries that must be equal to resume a run; fingerprints of CLIP models are compared separately."""
    clip = [{name: model.get(name) for name in ("name", "weight")} for model in recipe.get("clip", ())]
    return {name: value for name, value in recipe.items() if name not in FREE} | {"clip": clip}


def save_state(state: RunState, path: str | os.PathLike[str]) -> None:
    """Save a state as safetensors, atomically.

    Args:
        state: state to save.
        path: file to create or replace.

    Raises:
        NadaError: the file cannot be written.
    """
    described = {"recipe": state.recipe, "goal": state.goal, "layers": list(state.layers), "notes": state.notes}
    described["key"] = state.key
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    write_safetensors(tensors, {KEY: header_json({"format": VERSION, **described})}, path)


def load_state(path: str | os.PathLike[str], with_tensors: bool = True) -> RunState:
    """Read a state file.

    Args:
        path: file that `save_state` wrote.
        with_tensors: False reads only the header.

    Returns:
        The state, with tensors on the CPU, or with none.

    Raises:
        UnreadableError: the file cannot be read here and now, or was written by a later version.
        NadaError: the file does not exist, is not a state, or is damaged.
    """
    if not Path(path).is_file():
        raise NadaError(
            f"the state {path} does not exist; only a run with snapshots, or one that was stopped, can be resumed"
        )
    description, tensors = read_own_file(path, KIND) if with_tensors else (read_own_description(path, KIND), {})
    recipe, goal, layers, notes = (description[key] for key in ("recipe", "goal", "layers", "notes"))
    return RunState(tensors, recipe, goal, tuple(layers), notes, description.get("key", ""))


def state_key(path: str | os.PathLike[str]) -> str:
    """Read the cache key of a state file; "" if it has none or cannot be read."""
    return str(_description(path).get("key", ""))


def is_on_the_way(path: str | os.PathLike[str]) -> bool:
    """Whether a state file was saved before the end of its run; False if it cannot be read."""
    recipe = _description(path).get("recipe", {})
    return recipe.get("iterations_done", 0) < recipe.get("iterations", 0)


def _description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the description of a state file, without its tensors; {} if it cannot be read."""
    try:
        return read_own_description(path, KIND)
    except (NadaError, OSError):
        return {}
