"""The synthesis network: from latent codes, or from styles, to images."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import UsageError
from ..generators import NOISE_MODES, Noise
from . import ops
from .config import GeneratorConfig
from .layers import Residual, SynthesisLayer, ToRGB

BFLOAT16_FROM = 64  # lowest resolution that bfloat16 is used at; smaller blocks cost little
BFLOAT16_FROM_ON_CPU = 32  # the same on a CPU, where smaller blocks gain too
CHANNELS_LAST = 64  # lowest resolution at which that memory layout is faster on a CPU (docs/speed.md)
SUM_GAIN = 0.5**0.5  # keeps the variance of a sum of two


class Block(nn.Module):
    """Block of one resolution: conv0 (with upsampling; absent at 4x4), conv1, and to-RGB, which adds to the image.

    In the "skip" architecture every block has a to-RGB layer, in the others only the last one.
    """

    up_filter: Tensor

    def __init__(self, config: GeneratorConfig, index: int):
        super().__init__()
        self.resolution, c = config.resolutions[index], config.channels[index]
        conv = partial(
            SynthesisLayer,
            out_channels=c,
            w_dim=config.w_dim,
            size=config.size(self.resolution),
            clamp=config.conv_clamp,
            demod_eps=config.demod_eps,
        )
        if index == 0:
            self.const = nn.Parameter(torch.randn(c, *config.start))
        else:
            self.conv0 = conv(config.channels[index - 1], up=True)
            self.register_buffer("up_filter", ops.resample_filter(), persistent=False)
        self.conv1 = conv(c, up=False)
        self.skip = Residual(config.channels[index - 1], c) if index and config.architecture == "resnet" else None
        has_rgb = config.architecture == "skip" or self.resolution == config.resolution
        self.torgb = ToRGB(c, config.img_channels, config.w_dim, config.conv_clamp) if has_rgb else None

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        styles: MappingABC[str, Tensor],
        noise: MappingABC[str, Tensor],
        bfloat16: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Map features and image of the previous block (None at 4x4) to those of this one; see `Synthesis.forward`."""
        name, below = f"b{self.resolution}.", None
        if x is None:
            x = self.const.expand(len(styles[name + "conv1"]), -1, -1, -1)
        else:
            on_cpu = x.device.type == "cpu"
            bfloat16 = bfloat16 and self.resolution >= (BFLOAT16_FROM_ON_CPU if on_cpu else BFLOAT16_FROM)
            if on_cpu and (bfloat16 or self.resolution >= CHANNELS_LAST):
                x = x.contiguous(memory_format=torch.channels_last)
            if bfloat16:
                x = x.bfloat16()
            below = x
            x = self.conv0(x, styles[name + "conv0"], noise.get(name + "conv0"))
        x = self.conv1(x, styles[name + "conv1"], noise.get(name + "conv1"))
        if self.skip is not None:
            x = (x + self.skip(below)) * SUM_GAIN
        if self.torgb is None:
            return x, None
        rgb = self.torgb(x, styles[name + "torgb"]).contiguous()  # in full precision again, by adding its bias
        return x, rgb if image is None else rgb + ops.upsample(image, self.up_filter)


class Synthesis(nn.Module):
    """Synthesis network g: W+ -> images. Layers are addressed by name ("b4.conv1", "b8.conv0", ..., "b8.torgb").

    Attributes:
        recompute: use gradient checkpointing: keep only the inputs of each block, and recompute the block in the
            backward pass (Chen et al., arXiv 1604.06174). Less memory, more time, the same numbers.
    """

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.num_ws, self.w_dim = config.num_ws, config.w_dim
        self.recompute = False
        for i, r in enumerate(config.resolutions):
            setattr(self, f"b{r}", Block(config, i))
        self.latent_of = self._latent_indices(config)
        self.conv_layers = tuple(name for name in self.latent_of if not name.endswith("torgb"))
        self.noise_shapes = {name: config.size(int(name[1 : name.index(".")])) for name in self.conv_layers}

    @staticmethod
    def _latent_indices(config: GeneratorConfig) -> dict[str, int]:
        """Return {layer name: index of its code}; a to-RGB layer shares the code of the next block's conv0."""
        latent_of, index = {}, 0
        for r in config.resolutions:
            for conv in ("conv1",) if r == 4 else ("conv0", "conv1"):
                latent_of[f"b{r}.{conv}"] = index
                index += 1
            if config.architecture == "skip" or r == config.resolution:
                latent_of[f"b{r}.torgb"] = index
        return latent_of

    def layer(self, name: str) -> SynthesisLayer | ToRGB:
        """Return the module of a layer.

        Raises:
            UsageError: there is no such layer.
        """
        if name not in self.latent_of:
            raise UsageError(f"there is no layer {name!r}; the layers are {', '.join(self.latent_of)}")
        block, part = name.split(".")
        return getattr(getattr(self, block), part)

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        """Map codes to style space S: the scale of each input channel, by each layer's affine map.

        Args:
            ws: [N, num_ws, w_dim] (W+), or [N, w_dim] (W) for one code in all layers.

        Returns:
            {layer name: [N, C_in]}.

        Raises:
            UsageError: the codes have another shape.
        """
        if ws.ndim == 2:
            ws = ws[:, None].expand(-1, self.num_ws, -1)
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            raise UsageError(f"ws has shape {list(ws.shape)}; this generator takes [N, {self.num_ws}, {self.w_dim}]")
        return {name: self.layer(name).affine(ws[:, i]) for name, i in self.latent_of.items()}

    def sample_noise(self, batch: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Draw standard normal noise, {conv layer name: [batch, 1, r, r]}, and move it to the network's device.

        It is drawn on the device of `generator` (the CPU by default), so that a seed gives the same image everywhere.
        """
        device = torch.device("cpu") if generator is None else generator.device
        noise = {}
        for name in self.conv_layers:
            const = self.layer(name).get_buffer("noise_const")
            draw = torch.randn(batch, 1, *const.shape, generator=generator, device=device)
            noise[name] = draw.to(const)
        return noise

    def _noise(self, noise: Noise, batch: int, generator: torch.Generator | None) -> MappingABC[str, Tensor]:
        if isinstance(noise, MappingABC):
            return noise
        if noise == "const":
            return {name: self.layer(name).get_buffer("noise_const")[None, None] for name in self.conv_layers}
        if noise == "random":
            return self.sample_noise(batch, generator)
        if noise == "none":
            return {}
        raise UsageError(f"noise is {noise!r}; it must be one of {', '.join(NOISE_MODES)}, or a dict of noise maps")

    def render(
        self,
        styles: MappingABC[str, Tensor],
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        bfloat16: bool = False,
    ) -> Tensor:
        """Render images from styles {layer name: [N, C_in]}; see `forward` for the other arguments."""
        maps = self._noise(noise, len(styles["b4.conv1"]), generator)
        x: Tensor | None = None
        image: Tensor | None = None
        for block in self.children():
            if self.recompute and torch.is_grad_enabled():
                x, image = checkpoint(
                    block, x, image, styles, maps, bfloat16, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x, image = block(x, image, styles, maps, bfloat16)
        assert image is not None, "the last block has a to-RGB layer in every architecture"
        return image

    def forward(
        self,
        ws: Tensor,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        bfloat16: bool = False,
        *,
        half: bool = False,
    ) -> Tensor:
        """Render images from latent codes.

        Args:
            ws: [N, num_ws, w_dim], from `Mapping` or edited (W+); [N, w_dim] (W) gives every layer the same code.
            noise: "const" uses the stored maps (the same detail every time), "random" draws new maps from `generator`,
                "none" uses no noise; or explicit maps {layer name: [N or 1, 1, r, r]}, as `sample_noise` returns.
            generator: random generator for "random"; None for PyTorch's global one.
            bfloat16: compute the blocks from 64 px on (on a CPU: 32 px) in bfloat16; styles, demodulation and the image
                stay in float32.
            half: former name of `bfloat16`, kept for one release.

        Returns:
            [N, img_channels, H, W], about in [-1, 1] (not clamped); H = W = R for square generators.
        """
        return self.render(self.styles(ws), noise, generator, bfloat16 or half)
