"""Protocols for generators: all that adaptations, latent tools and styles use of one.

A family of generators is a class that fulfils `Generator`. Losses, trainings, runs, styles and nodes use nothing else,
so that a new family needs no change in them (CONTRIBUTING.md, "Add a generator family").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

NOISE_MODES = ("const", "random", "none")
PRECISIONS = ("full", "half")
Self = TypeVar("Self")
Noise = str | Mapping[str, Tensor]  # one of NOISE_MODES, or noise maps {layer name: [N or 1, 1, H, W]}
Label = int | Tensor  # class of a conditional generator's images: a number, numbers [N], or class weights [N, c_dim]


class LayerKind(Enum):
    """The role of a layer, which decides when an adaptation trains it."""

    MAPPING = "mapping"
    """The mapping network from z to w; trained only on request, since all layers share its codes."""
    CONSTANT = "constant"
    """The learned input of the synthesis network; trained only on request."""
    CONVOLUTION = "convolution"
    """A layer that adaptive layer freezing may choose."""
    COLOR = "color"
    """A layer that turns features into colors (to-RGB); trained only on request."""


@dataclass(frozen=True)
class Layer:
    """A part of a generator that an adaptation may train."""

    kind: LayerKind
    code: int | None
    """Index of the latent code that drives the layer; None for the mapping network and the constant."""
    resolution: int
    """Side of the layer's output in pixels; 0 for the mapping network."""


class Config(Protocol):
    """Sizes of a generator: a frozen dataclass whose fields are JSON-able."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def resolution(self) -> int:
        """Side of a square image in pixels."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""

    @property
    def z_dim(self) -> int:
        """Dimensions of the input latent z."""

    @property
    def w_dim(self) -> int:
        """Dimensions of a latent code w."""

    @property
    def c_dim(self) -> int:
        """Number of classes of a conditional generator; 0 for one without classes."""

    @property
    def img_channels(self) -> int:
        """Number of channels of the image."""

    @property
    def num_ws(self) -> int:
        """Number of latent codes for each image."""

    @property
    def width(self) -> int:
        """Number of feature maps of the widest layer; the default learning rate depends on it."""


class MappingNetwork(Protocol):
    """A mapping network: z -> latent codes."""

    w_avg: Tensor
    """Mean of w, [w_dim]: the centre of truncation."""

    def __call__(
        self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None, label: Label = 0
    ) -> Tensor:
        """Map z [N, z_dim] to codes [N, num_ws, w_dim], truncated."""

    def w(self, z: Tensor, label: Label = 0) -> Tensor:
        """Map z [N, z_dim] to w [N, w_dim], neither truncated nor repeated."""


class Synthesis(Protocol):
    """A synthesis network: latent codes -> images."""

    recompute: bool
    """Recompute activations in the backward pass (gradient checkpointing): less memory, more time, same gradients."""

    @property
    def noise_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Height and width of each noise map by layer name; empty for families without noise."""

    def __call__(
        self, ws: Tensor, noise: Noise = "const", generator: torch.Generator | None = None, bfloat16: bool = False
    ) -> Tensor:
        """Render codes [N, num_ws, w_dim] as images [N, img_channels, H, W], about in [-1, 1] and not clamped.

        With `bfloat16`, the layers in which that saves time compute in this number format.
        """

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        """Map codes [N, num_ws, w_dim] to style space: scales of each layer's input channels, {layer name: [N, C]}.

        The scales are affine in the code that drives the layer; the layer's parameter "affine.bias" is added to them.
        """

    def sample_noise(self, batch: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Draw standard normal noise maps {layer name: [batch, 1, H, W]} on the CPU, and move them to the device."""

    def train(self: Self, mode: bool = True) -> Self: ...

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self: ...


class Generator(Protocol):
    """A generator: a `torch.nn.Module` of two networks that can be deep-copied."""

    family: str
    """Name of the family, such as "stylegan2"; written into styles."""
    metadata: dict[str, Any]
    """JSON-able provenance: file, notes, recipes of adaptations."""

    @property
    def config(self) -> Config: ...

    @property
    def mapping(self) -> MappingNetwork: ...

    @property
    def synthesis(self) -> Synthesis: ...

    @property
    def num_ws(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def layers(self) -> dict[str, Layer]:
        """All parts that an adaptation may train, by name, in the order of the network."""

    @property
    def largest_map(self) -> int:
        """Number of values in the largest feature map of one image, to estimate the memory that an image takes."""

    def parameters_of(self, layer: str) -> dict[str, nn.Parameter]:
        """Return the parameters of a layer by their names in it.

        Parameters whose names begin with "affine." map a code to the layer's styles; "weight" is the matrix or kernel
        that low-rank training replaces.

        Args:
            layer: name of the layer, a key of `layers`.

        Raises:
            UsageError: there is no such layer.
        """

    def resolution_of(self, tensor: str) -> int:
        """Return the resolution, in pixels, of the layer that a tensor belongs to; 0 for the mapping network.

        Args:
            tensor: name of the tensor in `state_dict`.
        """

    def fingerprint(self) -> str:
        """Return the SHA-256 of config and tensors: generators with the same fingerprint make the same images."""

    def state_dict(self, *, keep_vars: bool = False) -> dict[str, Tensor]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def to(self: Self, device: torch.device | str) -> Self: ...

    def cpu(self: Self) -> Self: ...

    def train(self: Self, mode: bool = True) -> Self: ...

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...
