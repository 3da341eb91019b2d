"""A generator that has been recognized: its tensors under canonical names, checked before they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite, prod
from typing import Any, NoReturn

import torch

from ..errors import CheckpointError, UsageError
from ..stylegan2 import Generator, GeneratorConfig
from ..stylegan2.ops import resample_filter
from .canonical import EMBED, NOISE, W_AVG, canonical_shapes
from .tensors import TensorView

MAX_WIDTH = 1 << 13  # the widest published StyleGAN2 has 1024 channels
MAX_CHANNELS = 4  # an image has at most RGB and transparency
MAX_ELEMENTS = 1 << 28  # and the largest about 2^27 weights
MAX_PIXELS = 1 << 22  # the largest published images have 2^20
AVERAGED, AVERAGING = 10_000, 1 << 37  # codes in an average latent, and multiplications to spend on it
MAX_TENSORS = 1 << 9  # 182 at 1024 pixels, with the filters
FILL_SEED = 0
_REAL = {"conv_clamp", "mapping_lr_multiplier"}  # fields with real numbers


@dataclass
class Blueprint:
    """Validated recipe for a Generator: its config, and its tensors under canonical names."""

    config: GeneratorConfig
    tensors: dict[str, TensorView]
    """Tensors by the names of `Generator.state_dict()`."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user on values that the file lacks, and how they were filled in."""
    metadata: dict[str, Any] | None = None
    """Metadata that this project saved with the generator; None for files of other projects."""

    def __post_init__(self) -> None:
        """Compare names and shapes with those of the generator; add a note on each value that will be filled in.

        Raises:
            CheckpointError: tensors are missing, left over, misshapen, or too large.
        """
        expected = canonical_shapes(self.config)
        if (elements := sum(map(prod, expected.values()))) > MAX_ELEMENTS:
            raise CheckpointError(f"the generator has {elements} weights; more than {MAX_ELEMENTS} are not loaded")
        if (pixels := prod(self.config.image_size)) > MAX_PIXELS:  # noise that the file lacks is as large
            raise CheckpointError(f"the generator's images have {pixels} pixels; more than {MAX_PIXELS} are not made")
        missing = expected.keys() - self.tensors.keys()
        noises = sorted(name for name in missing if name.endswith(NOISE))
        _refuse("lacks", missing - {W_AVG, *noises})
        _refuse("has unexpected", self.tensors.keys() - expected.keys())
        found = {name: view.shape for name, view in self.tensors.items()}
        wrong = [name for name in found if found[name] != expected[name]]
        _refuse("has misshapen", [f"{n} {list(found[n])} (should be {list(expected[n])})" for n in wrong])
        if self.config.c_dim:
            classes = self.config.c_dim - 1
            self.notes.append(f"Its images depend on a class, 0 to {classes}; where none is chosen, it is class 0.")
        if W_AVG in missing:
            self.notes.append(
                f"The file has no average latent; it is the mean over {self._averaged} random ones (seed 0)."
            )
        if noises:
            self.notes.append("The file has no constant noise; it was drawn at random (seed 0).")

    def build(self) -> Generator:
        """Read the tensors into a new generator: float32, CPU, eval mode, no gradients, random state untouched.

        Raises:
            CheckpointError: a tensor cannot be read, or is not finite.
        """
        with torch.inference_mode(False), torch.no_grad():
            with torch.device("meta"):  # shapes without memory: every tensor comes from the file
                generator = Generator(self.config).eval().requires_grad_(False)
            rng = torch.Generator().manual_seed(FILL_SEED)
            tensors = {name: self._read(name, meta.shape, rng) for name, meta in generator.state_dict().items()}
            generator.load_state_dict(tensors, assign=True)
            for module in generator.modules():
                if getattr(module, "up_filter", None) is not None:
                    module.up_filter = resample_filter()  # a constant, which is in no state dict
            if W_AVG not in self.tensors:
                generator.mapping.w_avg.copy_(generator.estimate_w_avg(self._averaged, FILL_SEED))
            return generator

    @property
    def _averaged(self) -> int:
        """Number of codes to average: fewer for a mapping network so wide that it would take minutes."""
        weights = sum(view.numel for name, view in self.tensors.items() if name.startswith("mapping."))
        return min(AVERAGED, max(1, AVERAGING // weights))

    def _read(self, name: str, shape: torch.Size, rng: torch.Generator) -> torch.Tensor:
        """Return a tensor of the file, or a replacement: seeded noise maps, else zeros."""
        if name in self.tensors:
            return finite(name, self.tensors[name].read())
        return torch.randn(shape, generator=rng) if name.endswith(NOISE) else torch.zeros(shape)


def infer_config(tensors: dict[str, TensorView], **constants: Any) -> GeneratorConfig:
    """Infer the sizes of a generator from the shapes of its tensors.

    Args:
        tensors: tensors by canonical names.
        **constants: the fields of the config that shapes do not tell.

    Raises:
        CheckpointError: this is not a StyleGAN2 generator of 4..1024 pixels.
    """
    layers = {int(m[1]) for name in tensors if (m := re.fullmatch(r"mapping\.fc(\d{1,3})\.weight", name))}
    blocks = {int(m[1]) for name in tensors if (m := re.fullmatch(r"synthesis\.b(\d{1,9})\.conv1\.weight", name))}
    if not layers or not blocks:
        raise CheckpointError("the file lacks a StyleGAN2 mapping or synthesis network")
    inputs = _shape(tensors, "mapping.fc0.weight", 2)[1]
    w_dim = _shape(tensors, f"mapping.fc{max(layers)}.weight", 2)[0]
    c_dim = _shape(tensors, EMBED, 2)[1] if EMBED in tensors else 0
    return make_config(
        resolution=max(blocks),
        channels=tuple(_shape(tensors, f"synthesis.b{r}.conv1.weight", 4)[0] for r in sorted(blocks)),
        z_dim=inputs - w_dim if c_dim else inputs,  # the label's embedding is as wide as w
        w_dim=w_dim,
        mapping_layers=max(layers) + 1,
        img_channels=_shape(tensors, f"synthesis.b{max(blocks)}.torgb.weight", 4)[0],
        architecture=_architecture(tensors),
        c_dim=c_dim,
        start=_shape(tensors, "synthesis.b4.const", 3)[1:],
        **constants,
    )


def _architecture(tensors: dict[str, TensorView]) -> str:
    """Tell the architectures of figure 7 in the paper apart by their layers; a lone 4x4 block counts as "skip"."""
    if any(name.endswith(".skip.weight") for name in tensors):
        return "resnet"
    return "skip" if "synthesis.b4.torgb.weight" in tensors else "orig"


def refuse_lost_classes(inputs: int, width: int) -> NoReturn:
    """Refuse a generator whose mapping network has more inputs than z, but no embedding of classes.

    Args:
        inputs: number of inputs of the first layer.
        width: number of outputs of each layer.

    Raises:
        CheckpointError: always. Random numbers would replace the class, and every picture would be wrong.
    """
    raise CheckpointError(
        f"the mapping network takes {inputs} numbers and is {width} wide: this looks like a generator with classes "
        "whose embedding was lost when the file was converted; load the file it was converted from"
    )


def confirm(config: GeneratorConfig, **told: Any) -> None:
    """Compare fields that a file states with those that its tensors imply.

    Args:
        config: config inferred from the tensors.
        **told: fields as the file states them.

    Raises:
        CheckpointError: a field differs.
    """
    if len(config.channels) == 1:
        told.pop("architecture")  # with one block, the architectures are the same
    for name, value in told.items():
        if value != (own := getattr(config, name)):
            raise CheckpointError(
                f"the file says that the {name} of this StyleGAN2 is {str(value)[:40]!r}, its tensors say {own!r}; "
                "it is damaged, or of a kind that is not known here"
            )


def make_config(**fields: Any) -> GeneratorConfig:
    """Validate fields from a file and make a config of them.

    Args:
        **fields: fields of `GeneratorConfig`.

    Raises:
        CheckpointError: a field is impossible or absurd.
    """
    try:
        config = GeneratorConfig(**fields | {name: _real(fields[name]) for name in _REAL & fields.keys()})
        whole = (config.resolution, *config.channels, config.z_dim, config.w_dim, config.mapping_layers)
        whole += (config.img_channels, config.c_dim, *config.start)
        if any(type(n) is not int or n > MAX_WIDTH for n in whole):
            raise CheckpointError(f"the generator's sizes are not whole numbers up to {MAX_WIDTH}: {fields}")
        if config.img_channels > MAX_CHANNELS:
            raise CheckpointError(
                f"the images of this generator have {config.img_channels} channels, so they are no pictures: it may be "
                "a part of a 3D generator such as EG3D, which needs its renderer; load a StyleGAN2 generator"
            )
        if not config.mapping_lr_multiplier:
            raise CheckpointError("the learning rate multiplier of the mapping network is missing or zero")
        return config
    except (UsageError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"the file's generator cannot be built: {error}") from error


def _real(value: Any) -> float | None:
    if value is not None and not isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return None if value is None else float(value)


def drop_filters(tensors: dict[str, TensorView], endings: tuple[str, ...], gain: float) -> dict[str, TensorView]:
    """Check the resampling filters, which are constants here, and return the other tensors.

    Args:
        tensors: tensors by name, in any naming scheme.
        endings: suffixes of the names of filters.
        gain: sum of a filter's taps.

    Raises:
        CheckpointError: a filter is not StyleGAN2's, or there are too many tensors to check.
    """
    if len(tensors) > MAX_TENSORS:
        raise CheckpointError(f"the network has {len(tensors)} tensors; no generator has more than {MAX_TENSORS}")
    expected = resample_filter()[0, 0]
    expected = expected * (gain / expected.sum())
    for name, view in tensors.items():
        if name.endswith(endings) and (view.shape != (4, 4) or not torch.allclose(view.read(), expected, atol=1e-4)):
            raise CheckpointError(
                f"the generator resamples with an unusual filter ({name}); only [1, 3, 3, 1] is supported"
            )
    return {name: view for name, view in tensors.items() if not name.endswith(endings)}


def _shape(tensors: dict[str, TensorView], name: str, rank: int) -> tuple[int, ...]:
    if name not in tensors or len(tensors[name].shape) != rank:
        raise CheckpointError(f"the file lacks {name}, or it is not a tensor of {rank} dimensions")
    return tensors[name].shape


def _refuse(complaint: str, names: Iterable[str], shown: int = 5) -> None:
    names = sorted(names)
    if names:
        more = f" and {len(names) - shown} more" if len(names) > shown else ""
        listed = ", ".join(name[:120] for name in names[:shown])
        raise CheckpointError(f"the file {complaint} tensors: {listed}{more}; it is not a complete StyleGAN2 generator")


def finite(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor itself if all its numbers are finite.

    Args:
        name: name of the tensor, for the message.
        tensor: the tensor to check.

    Raises:
        CheckpointError: a number is not finite.
    """
    if not all(map(torch.isfinite, tensor.aminmax())):  # a NaN anywhere makes both of them NaN
        raise CheckpointError(f"{name} contains numbers that are not finite; the training of this model has diverged")
    return tensor
