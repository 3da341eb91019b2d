"""What adaptations, latent tools and styles need of a generator, as protocols.

A family of generators is a class that fulfils `Generator`. Losses, trainings, runs, styles and nodes use nothing else,
so a new family needs no change in them (CONTRIBUTING.md, "Add a generator family").
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
    """What a layer does, which decides when an adaptation trains it."""

    MAPPING = "mapping"
    """The mapping network from z to w; trains only on request, as all layers share its codes."""
    CONSTANT = "constant"
    """The learned input of the synthesis network; trains only on request."""
    CONVOLUTION = "convolution"
    """A layer that adaptive layer freezing may choose."""
    COLOR = "color"
    """A layer that turns features into colors (to-RGB); trains only on request."""


@dataclass(frozen=True)
class Layer:
    """A part of a generator that an adaptation may train."""

    kind: LayerKind
    code: int | None
    """Index of the latent code that drives it; None for the mapping network and the constant."""
    resolution: int
    """Side of the features that it makes, in pixels; 0 for the mapping network."""


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
        """Numbers of the input latent z."""

    @property
    def w_dim(self) -> int:
        """Numbers of a latent code w."""

    @property
    def c_dim(self) -> int:
        """Classes of a conditional generator; 0 for one without labels."""

    @property
    def img_channels(self) -> int:
        """Channels of the image."""

    @property
    def num_ws(self) -> int:
        """Latent codes for each image."""

    @property
    def width(self) -> int:
        """Feature maps of the widest layer, which the default step size depends on."""


class MappingNetwork(Protocol):
    """z -> latent codes."""

    w_avg: Tensor
    """Mean of w, [w_dim]: the centre of truncation."""

    def __call__(
        self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None, label: Label = 0
    ) -> Tensor:
        """z [N, z_dim] -> codes [N, num_ws, w_dim], truncated."""

    def w(self, z: Tensor, label: Label = 0) -> Tensor:
        """z [N, z_dim] -> w [N, w_dim], neither truncated nor repeated."""


class Synthesis(Protocol):
    """Latent codes -> images."""

    recompute: bool
    """Store no activations for the backward pass but recompute them: less memory, more time, the same gradients."""

    @property
    def noise_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Height and width of each noise map by layer name; empty for families without noise."""

    def __call__(
        self, ws: Tensor, noise: Noise = "const", generator: torch.Generator | None = None, half: bool = False
    ) -> Tensor:
        """Codes [N, num_ws, w_dim] -> images [N, img_channels, H, W], about in [-1, 1] and not clamped."""

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        """Style space: codes [N, num_ws, w_dim] -> the scales of each layer's input channels, {layer name: [N, C]}.

        They are affine in the code that drives the layer, and the layer's parameter "affine.bias" is added to them.
        """

    def sample_noise(self, batch: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Standard normal noise maps {layer name: [batch, 1, H, W]}, drawn on the CPU, on the network's device."""

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
        """Numbers in the largest feature map of one image, an estimate of what an image takes in memory."""

    def parameters_of(self, layer: str) -> dict[str, nn.Parameter]:
        """Parameters of a layer by their names inside it.

        Those whose names begin with "affine." map a code to the layer's styles; "weight" is the matrix or kernel that
        low-rank training replaces.

        Raises:
            UsageError: there is no such layer.
        """

    def resolution_of(self, tensor: str) -> int:
        """Resolution in pixels of the layer that a tensor of `state_dict` belongs to; 0 for the mapping network."""

    def fingerprint(self) -> str:
        """SHA-256 of all tensors: generators with the same one make the same images."""

    def state_dict(self, *, keep_vars: bool = False) -> dict[str, Tensor]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def to(self: Self, device: torch.device | str) -> Self: ...

    def cpu(self: Self) -> Self: ...

    def train(self: Self, mode: bool = True) -> Self: ...

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...
