"""The configuration of a StyleGAN2 generator: its sizes, and constants that its tensors do not tell."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from ..errors import UsageError

MIN_RESOLUTION, MAX_RESOLUTION = 4, 1024
MAX_CLAMP = 1e38  # float32 and bfloat16 hold it
MAX_START = 64  # largest side of the constant; published ones are 4x4, 4x2 (StyleGAN-Human), and up to about 8x8
ARCHITECTURES = ("skip", "resnet", "orig")


def standard_channels(resolution: int, channel_base: int = 32768, channel_max: int = 512) -> tuple[int, ...]:
    """Return the usual numbers of channels: min(channel_base / r, channel_max) for r = 4, 8, ..., resolution.

    A base of 32768 is config-f ("channel multiplier 2"); 16384 is config-e and NVIDIA's small models.
    """
    blocks = int(log2(resolution)) - 1
    return tuple(min(channel_base // (4 << i), channel_max) for i in range(blocks))


@dataclass(frozen=True)
class GeneratorConfig:
    """The sizes of a generator, and constants that its tensors do not tell.

    Raises:
        UsageError: a value is impossible.
    """

    resolution: int
    """Name of the last block: a power of two in 4..1024, the side of the image in pixels if it is square."""
    channels: tuple[int, ...]
    """Number of feature maps of the blocks 4x4, 8x8, ..., resolution."""
    z_dim: int = 512
    """Dimensions of the input latent z."""
    w_dim: int = 512
    """Dimensions of the intermediate latent w, and width of the mapping network."""
    mapping_layers: int = 8
    """Number of fully connected layers from z to w."""
    mapping_lr_multiplier: float = 0.01
    """Learning rate multiplier of the mapping network; its stored weights are larger by the inverse."""
    img_channels: int = 3
    """Number of channels of the image."""
    conv_clamp: float | None = None
    """Largest magnitude of the output of a convolution or to-RGB layer; None for no limit. Mixed-precision NVIDIA
    models have 256."""
    demod_eps: str = "scaled"
    """Place of the 1e-8 in demodulation: "scaled" adds it to the energy of W / sqrt(fan_in) (TensorFlow, rosinality),
    "raw" to that of W (NVIDIA)."""
    architecture: str = "skip"
    """Way in which the blocks make the image (StyleGAN2 figure 7): "skip" adds up an image of every block, "resnet" and
    "orig" make it in the last block, "resnet" with a residual connection around each block."""
    c_dim: int = 0
    """Number of classes of a conditional generator; 0 for one without classes."""
    start: tuple[int, int] = (4, 4)
    """Height and width of the learned constant. Each block doubles both: (4, 2) gives images twice as high as wide."""

    def __post_init__(self) -> None:
        r = self.resolution
        if not MIN_RESOLUTION <= r <= MAX_RESOLUTION or r & (r - 1):
            raise UsageError(f"resolution is {r}; it must be a power of two in {MIN_RESOLUTION}..{MAX_RESOLUTION}")
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "start", tuple(self.start))
        if len(self.channels) != len(self.resolutions):
            raise UsageError(f"channels has {len(self.channels)} entries; {r} px has {len(self.resolutions)} blocks")
        sizes = (*self.channels, self.z_dim, self.w_dim, self.mapping_layers, self.img_channels)
        if min(sizes) < 1:
            raise UsageError(f"every size of a generator must be at least 1, got {sizes}")
        if len(self.start) != 2 or not all(1 <= side <= MAX_START for side in self.start):
            raise UsageError(f"start is {self.start}; it must be a height and a width in 1..{MAX_START}")
        if self.c_dim < 0:
            raise UsageError(f"c_dim is {self.c_dim}; it must be the number of classes, or 0 for none")
        if self.architecture not in ARCHITECTURES:
            raise UsageError(f"architecture is {self.architecture!r}; it must be one of {', '.join(ARCHITECTURES)}")
        if self.demod_eps not in ("scaled", "raw"):
            raise UsageError(f"demod_eps is {self.demod_eps!r}; it must be 'scaled' or 'raw'")
        if self.conv_clamp is not None and not 0 < self.conv_clamp <= MAX_CLAMP:
            raise UsageError(f"conv_clamp is {self.conv_clamp}; it must be in 0..{MAX_CLAMP:g}, or None")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the blocks: 4, 8, ..., resolution."""
        return tuple(4 << i for i in range(int(log2(self.resolution)) - 1))

    def size(self, resolution: int) -> tuple[int, int]:
        """Return height and width of the features of the block with this resolution."""
        height, width = self.start
        return height * resolution // 4, width * resolution // 4

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.size(self.resolution)

    @property
    def width(self) -> int:
        """Number of feature maps of the widest block."""
        return max(self.channels)

    @property
    def num_ws(self) -> int:
        """Number of latent codes for each image, 2 log2(resolution) - 2: one a convolution, one for the last to-RGB."""
        return 2 * len(self.resolutions)
