"""Alternative computations of the same results, for `speed_ways`: each function returns two variants.

Generators have their true shapes for a size in pixels, and batches of 2.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from tempfile import TemporaryFile
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from clock import clock
from speed_timed import Case, Timed, random_clip
from torch import Tensor

from nada import Generator
from nada.seeding import seeded
from nada.stylegan2 import GeneratorConfig, ops, standard_channels, synthesis
from nada.stylegan2.ops import styled_conv, taps, winograd
from nada.stylegan2.ops.resample import blur
from nada.training.noise_pool import NoisePool

SIZE, BATCH, CHANNELS = 256, 2, 128
PARAMETERS = 25_000_000
Work = Callable[[], Any]
Sides = tuple[Work, Work]


def both_ways(forward: Callable[[], Tensor], *inputs: Tensor) -> Work:
    """A function, and the gradient of its result with respect to some inputs."""
    return lambda: torch.autograd.grad(forward().square().sum(), inputs)


def within(context: Callable[[], AbstractContextManager], work: Work) -> Work:
    """Run a function inside a context."""

    def inside() -> Any:
        with context():
            return work()

    return inside


def network(size: int) -> tuple[Generator, Tensor, dict[str, Tensor]]:
    """A generator with random weights, codes of a batch, and noise."""
    generator = Generator(GeneratorConfig(size, standard_channels(size))).eval()
    ws = torch.randn(BATCH, generator.num_ws, generator.config.w_dim)
    return generator, ws, generator.synthesis.sample_noise(BATCH)


def passes(size: int, what: str) -> Work:
    """A pass through the synthesis network: "forward", or with the gradient for the "weights" or the "codes"."""
    generator, ws, noise = network(size)
    generator.requires_grad_(what == "weights")
    ws.requires_grad_(what == "codes")
    forward = lambda: generator.synthesis(ws, noise)
    inputs = {"weights": [*generator.synthesis.parameters()], "codes": [ws]}
    return both_ways(forward, *inputs[what]) if what in inputs else torch.no_grad()(forward)


def layouts(what: str, size: int) -> Sides:
    """Features with channels first everywhere, or channels last in large blocks."""
    first = partial(mock.patch.object, synthesis, "CHANNELS_LAST", 1 << 20)
    work = passes(size, what)
    return within(first, work), work


def plain_layer(
    x: Tensor, weight: Tensor, styles: Tensor, demod: Tensor, noise: Tensor | None, bias: Tensor,
    up_filter: Tensor | None = None, clamp: float | None = None,
) -> Tensor:  # fmt: skip
    """Compute `styled_conv2d` by separate operations, each of which keeps what its gradient needs."""
    x = x * styles[:, :, None, None]
    if up_filter is None:
        y = F.conv2d(x, weight, padding=1)
    else:
        y = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), up_filter)
    y = y * demod[:, :, None, None] + bias[:, None, None]
    return F.leaky_relu(y if noise is None else y + noise, ops.SLOPE)


def layers(what: str, size: int) -> Sides:
    """A synthesis layer as many operations, or as one."""
    work = passes(size, what)
    return within(partial(mock.patch.object, ops, "styled_conv2d", plain_layer), work), work


def ordinary(work: Work) -> Work:
    """Run a function with ordinary convolutions instead of Winograd's."""
    return within(partial(mock.patch.object, winograd, "pays", lambda *_: False), work)


def winograds(what: str, size: int) -> Sides:
    """All convolutions of synthesis computed directly, or the large ones by Winograd's algorithm."""
    work = passes(size, what)
    return ordinary(work), work


def convolutions(channels: int, side: int, size: int) -> Sides:
    """A 3x3 convolution and its two gradients: directly, or by Winograd's algorithm."""
    side = side * size // SIZE
    x, slope = (torch.randn(BATCH, channels, side, side).to(memory_format=torch.channels_last) for _ in range(2))
    weight = torch.randn(channels, channels, 3, 3)

    def direct() -> tuple[Tensor, ...]:
        inputs = [tensor.detach().requires_grad_(True) for tensor in (x, weight)]
        y = F.conv2d(*inputs, padding=1)
        return y, *torch.autograd.grad(y, inputs, slope)

    def ours() -> tuple[Tensor, ...]:
        gradients = winograd.input_gradient(slope, weight), winograd.weight_gradient(slope, x)
        return winograd.convolve(x, weight), *gradients

    return direct, ours


def weight_gradients(side: int, size: int) -> Sides:
    """The weight gradient of a convolution that doubles the resolution: by PyTorch, or as nine matrix products."""
    side = side * size // SIZE
    inputs, outputs = (2 * CHANNELS, CHANNELS) if side > 32 else (512, 512)
    weight = torch.randn(outputs, inputs, 3, 3)
    x = torch.randn(BATCH, inputs, side, side).to(memory_format=torch.channels_last)
    slope = torch.randn(BATCH, outputs, 2 * side + 1, 2 * side + 1).to(memory_format=torch.channels_last)
    work = lambda: styled_conv._convolve_backward(slope, x, weight, up=True, wanted=1)
    return within(partial(mock.patch.object, taps, "WITHOUT_AVX512", False), work), work


@contextmanager
def as_with_avx512() -> Iterator[None]:
    """Choose the ways to compute convolutions as on a processor with AVX-512."""
    with (
        mock.patch.object(taps, "WITHOUT_AVX512", False),
        mock.patch.multiple(winograd, CHANNELS=256, LEAST=256),
    ):
        yield


def narrows(what: str, size: int) -> Sides:
    """All convolutions of synthesis as with AVX-512, or as without."""
    work = passes(size, what)
    return within(as_with_avx512, work), work


@contextmanager
def small_tiles() -> Iterator[None]:
    """Use Winograd's F(2x2, 3x3) instead of F(4x4, 3x3)."""
    with ExitStack() as stack:
        stack.callback(winograd._matrices.cache_clear)
        stack.enter_context(mock.patch.multiple(winograd, STEP=2, TILE=4, POINTS=(0.0, 1.0, -1.0), LEAST=1024))
        winograd._matrices.cache_clear()
        yield


def tile_sizes(size: int) -> Sides:
    """Winograd's algorithm on tiles of 4x4 pixels, or of 2x2."""
    work = passes(size, "weights")
    return work, within(small_tiles, work)


def unchanged(size: int) -> Sides:
    """An iteration with ordinary convolutions, and without the time in which oneDNN changes between its layouts.

    For each change of layout its least time counts, because oneDNN's clock does not stop while other processes run.
    """
    run, found = Timed(Case("", size, batch=BATCH)), Counter[str]()

    def whole() -> float:
        began = clock(torch.device("cpu"))
        lines = verbose(ordinary(run.work))
        found["whole"] = clock(torch.device("cpu")) - began
        times: dict[str, list[float]] = {}
        for line in lines:
            if ",exec,cpu,reorder," in line:
                what, milliseconds = line.rsplit(",", 1)
                times.setdefault(what, []).append(float(milliseconds) / 1e3)
        found["reorders"] = sum(len(each) * min(each) for each in times.values())
        return found["whole"]

    return whole, lambda: found["whole"] - found["reorders"]


def verbose(work: Work) -> list[str]:
    """Run a function, and return the lines that oneDNN meanwhile prints: one for each operation, with its time."""
    stdout = os.dup(1)
    with TemporaryFile("w+") as file:
        os.dup2(file.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                work()
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        file.seek(0)
        return file.read().splitlines()


def bytes_kept(size: int) -> int:
    """Bytes kept between the forward pass and the gradient for all weights, without the weights themselves."""
    generator, ws, noise = network(size)
    weights, kept = {p.untyped_storage().data_ptr() for p in generator.parameters()}, {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        image = generator.synthesis(ws, noise)
    del image
    return sum(kept.values())


def memories(larger: int, size: int) -> Sides:
    work = partial(bytes_kept, size * larger)
    return within(partial(mock.patch.object, ops, "styled_conv2d", plain_layer), work), work


def tokens(name: str, size: int) -> Sides:
    """The tokens of a CLIP model with the batch first, as in open_clip, or the length first."""
    model = random_clip(name)
    images = torch.randn(BATCH, 3, size, size, requires_grad=True)
    modules = [module for module in model.model.visual.transformer.modules() if hasattr(module, "batch_first")]

    def work(batch_first: bool) -> None:
        for module in modules:
            module.batch_first = batch_first
        both_ways(lambda: model.encode_image(images), images)()

    return partial(work, True), partial(work, False)


def choices(size: int) -> Sides:
    """Selecting layers on 8 images: all at once, or in chunks of the training batch."""
    runs = [Timed(Case("", size, layers=4, batch=batch)).run for batch in (8, BATCH)]
    first, second = (partial(run.select_layers, 4) for run in runs)
    return first, second


def colors(size: int) -> Sides:
    """To-RGB as a convolution for each image, or as a matrix product."""
    x = torch.randn(BATCH, CHANNELS, size, size).to(memory_format=torch.channels_last).requires_grad_(True)
    weight, styles = (
        torch.randn(3, CHANNELS, 1, 1, requires_grad=True),
        torch.randn(BATCH, CHANNELS, requires_grad=True),
    )
    kernels = lambda i: weight * styles[i][None, :, None, None]
    convolved = lambda: torch.cat([F.conv2d(x[i : i + 1], kernels(i)) for i in range(BATCH)])
    ours = lambda: ops.modulated_conv1x1(x, weight, styles)
    return both_ways(convolved, x, weight, styles), both_ways(ours, x, weight, styles)


def optimizers(size: int) -> Sides:
    """Adam as operations on all tensors, or as one kernel."""
    found = []
    for fused in (False, True):
        weights = [torch.randn(512, 512, 3, 3) for _ in range(PARAMETERS // (512 * 512 * 9))]
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        found.append(torch.optim.Adam(weights, fused=fused).step)
    return found[0], found[1]


def noises(size: int) -> Sides:
    """The noise of an iteration at four times the size: drawn, or cut out of a pool."""
    generator, _, _ = network(4 * size)
    random = seeded(0)
    pool = NoisePool(generator, random)
    return partial(generator.synthesis.sample_noise, BATCH, random), partial(pool.draw, BATCH, random)


def modulations(way: str, wanted: str, size: int) -> Sides:
    """One convolution of scaled features, or of features with weights modulated for each image."""
    x = torch.randn(BATCH, CHANNELS, size, size).requires_grad_(True)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, requires_grad=wanted == "training")
    styles, bias = torch.randn(BATCH, CHANNELS, requires_grad=True), torch.zeros(CHANNELS)
    inputs = [x, styles, weight][: 3 if wanted == "training" else 2]

    def ours() -> Tensor:
        return ops.styled_conv2d(x, weight, styles, ops.demodulation(weight, styles, 1e-8), None, bias)

    def modulated() -> Tensor:
        kernels = weight * styles[:, None, :, None, None]
        kernels = kernels * (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        if way == "grouped":
            y = F.conv2d(x.flatten(0, 1)[None], kernels.flatten(0, 1), padding=1, groups=BATCH).view_as(x)
        else:
            y = torch.cat([F.conv2d(x[i : i + 1], kernels[i], padding=1) for i in range(BATCH)])
        return F.leaky_relu(y, ops.SLOPE)

    return both_ways(ours, *inputs), both_ways(modulated, *inputs)


def blurs(size: int) -> Sides:
    """The filter after upsampling, in two dimensions or separably."""
    x = torch.randn(BATCH, CHANNELS, size + 1, size + 1, requires_grad=True)
    kernel = ops.resample_filter()
    row = kernel.sum(2, keepdim=True) / kernel.sum().sqrt()
    rows, columns = (part.expand(CHANNELS, 1, -1, -1) for part in (row, row.mT))

    def separable() -> Tensor:
        return F.conv2d(F.conv2d(x, rows, padding=(0, 1), groups=CHANNELS), columns, padding=(1, 0), groups=CHANNELS)

    return both_ways(lambda: blur(x, kernel), x), both_ways(separable, x)


def doublings(way: str, size: int) -> Sides:
    """The transposed convolution to twice the size, or an equivalent."""
    half = size // 2
    x = torch.randn(BATCH, 2 * CHANNELS, half, half, requires_grad=True)
    weight = torch.randn(2 * CHANNELS, CHANNELS, 3, 3, requires_grad=True)

    def four() -> Tensor:
        """Compute each parity of rows and columns from some of the nine weights."""
        y = x.new_zeros(BATCH, CHANNELS, 2 * half + 1, 2 * half + 1)
        kernel = weight.flip(2, 3).transpose(0, 1)
        for i in (0, 1):
            for j in (0, 1):
                part = F.pad(x, (1 - j, 1 - j, 1 - i, 1 - i))
                y[:, :, i::2, j::2] = F.conv2d(part, kernel[:, :, i::2, j::2])
        return y

    def gradient() -> Tensor:
        return torch.nn.grad.conv2d_input((BATCH, CHANNELS, 2 * half + 1, 2 * half + 1), weight, x, stride=2)

    ours = lambda: F.conv_transpose2d(x, weight, stride=2)
    return both_ways(ours, x, weight), both_ways({"four": four, "gradient": gradient}[way], x, weight)


def halves(what: str, size: int) -> Sides:
    """Single precision, or bfloat16."""
    if what == "convolution":
        x, weight = torch.randn(BATCH, CHANNELS, size, size), torch.randn(CHANNELS, CHANNELS, 3, 3)
        work = lambda x, weight: F.conv2d(x, weight, padding=1)
    else:
        x, weight = torch.randn(2, 8 * size, 8 * size)
        work = torch.matmul
    return partial(work, x, weight), partial(work, x.bfloat16(), weight.bfloat16())


def energies(size: int) -> Sides:
    """Demodulation of all layers from their weights, or from cached squares."""
    generator, _, _ = network(size)
    weights = [generator.synthesis.layer(name).weight.detach() for name in generator.synthesis.conv_layers]
    styles = [torch.randn(BATCH, weight.shape[1]) for weight in weights]
    squares = [weight.square().sum(dim=(2, 3)) for weight in weights]
    pairs = list(zip(styles, weights, squares, strict=True))
    ours = lambda: [ops.demodulation(weight, style, 1e-8) for style, weight, _ in pairs]
    return ours, lambda: [(style.square() @ square.T + 1e-8).rsqrt() for style, _, square in pairs]
