"""Convert StyleGAN2 networks of NVlabs/stylegan2-ada-pytorch and NVlabs/stylegan3, whose names are canonical here."""

from __future__ import annotations

from typing import Any

from ..errors import CheckpointError
from .blueprint import Blueprint, confirm, drop_filters, infer_config, refuse_lost_classes
from .document import Document
from .tensors import TensorView

MARKS = ("synthesis.b4.const", "synthesis.b4.conv1.weight", "mapping.fc0.weight")
MAX_LAYERS = 17  # number of convolutions at 1024 pixels
FILTER = (".resample_filter",)


def matches(document: Document) -> bool:
    """Whether the document holds a generator under NVIDIA's names."""
    return bool(document.prefixes_of(MARKS))


def convert(document: Document) -> Blueprint:
    """Convert a generator, with the constants that its pickle keeps as attributes of the layers.

    Attributes are used, and not the arguments that the network was built with, whose defaults differ between the
    repositories. A safetensors copy has neither; the defaults of stylegan2-ada-pytorch then hold, with a note.

    Raises:
        CheckpointError: the generator is incomplete, or of a kind that cannot be loaded.
    """
    prefix, notes = document.choose(MARKS)
    network = document.under(prefix)
    _check_activations(network)
    tensors = drop_filters(network.tensors, FILTER, gain=1.0)
    _add_silent_noise(network, tensors, notes)
    if not _values(network, "synthesis.", "conv_clamp"):
        notes.append(
            "The file does not say whether the network clamps its activations; it was loaded without clamping."
        )
    config = infer_config(
        tensors,
        conv_clamp=_common(network, "synthesis.", "conv_clamp", None),
        mapping_lr_multiplier=_common(network, "mapping.fc", "bias_gain", 0.01),
        demod_eps="raw",
    )
    architecture = _common_value(network, "synthesis.", "architecture", config.architecture)
    told = {name: network.attributes.get(f"mapping.{name}", getattr(config, name)) for name in ("c_dim", "z_dim")}
    confirm(config, architecture=architecture, **told)
    if not config.c_dim and config.z_dim == 2 * config.w_dim and "mapping.z_dim" not in network.attributes:
        refuse_lost_classes(config.z_dim, config.w_dim)
    return Blueprint(config, tensors, notes)


def _values(network: Document, prefix: str, attribute: str) -> dict[str, Any]:
    """Return an attribute of all modules under a prefix by name, except the plain convolutions around blocks."""
    found = {n: v for n, v in network.attributes.items() if n.startswith(prefix) and n.endswith(f".{attribute}")}
    return {name: value for name, value in found.items() if not name.endswith(f".skip.{attribute}")}


def _common_value(network: Document, prefix: str, attribute: str, default: Any) -> Any:
    """Return the value of an attribute, the same in all modules; the default if no module has it."""
    values = set(_values(network, prefix, attribute).values())
    if len(values) > 1:
        raise CheckpointError(f"{attribute} differs between the layers of this network; only one value can be loaded")
    return next(iter(values), default)


def _common(network: Document, prefix: str, attribute: str, default: float | None) -> float | None:
    """Return an attribute that is the same number in all modules, or None; the default if no module has it."""
    value = _common_value(network, prefix, attribute, default)
    if isinstance(value, (str, bool)):
        raise CheckpointError(f"{attribute} of this network is {value!r}; it should be a number")
    return value


def _check_activations(network: Document) -> None:
    """Refuse activations other than leaky ReLU, which every published StyleGAN2 has.

    Raises:
        CheckpointError: a layer has another activation.
    """
    activations = {
        *_values(network, "mapping.fc", "activation").values(),
        *(v for n, v in _values(network, "synthesis.", "activation").items() if ".affine." not in n),
    }
    if activations - {"lrelu"}:
        raise CheckpointError(
            f"this network activates with {sorted(map(str, activations))}; only 'lrelu' can be loaded"
        )


def _add_silent_noise(network: Document, tensors: dict[str, TensorView], notes: list[str]) -> None:
    """Add noise inputs of strength zero to layers that were built without noise inputs."""
    silent = [name for name, used in _values(network, "synthesis.", "use_noise").items() if used is False]
    if len(silent) > MAX_LAYERS:
        raise CheckpointError(f"the network has {len(silent)} layers; no generator has more than {MAX_LAYERS}")
    for name in silent:
        layer = name.removesuffix("use_noise")
        resolution = network.attributes.get(f"{layer}resolution")
        if type(resolution) is not int or not 4 <= resolution <= 1024:
            raise CheckpointError(f"{layer}resolution is {resolution!r}; it should be a number of pixels")
        tensors[f"{layer}noise_strength"] = TensorView.zeros()
        tensors[f"{layer}noise_const"] = TensorView.zeros(resolution, resolution)
    if silent:
        notes.append("The network was made without noise inputs; they are there, with strength zero.")
