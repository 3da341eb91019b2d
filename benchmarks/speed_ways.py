"""Time alternative computations of the same results, in turns within one process: three tables of docs/speed.md.

Two tables compare improvements with what they replaced, the other the code in use with rejected alternatives.
Generators have their true shapes at 256 px, and batches of 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from clock import clock
from pages import Options, Shown, Table, grid, key_of
from speed_variants import (
    CHANNELS,
    SIZE,
    Sides,
    Work,
    blurs,
    choices,
    colors,
    convolutions,
    doublings,
    energies,
    halves,
    layers,
    layouts,
    memories,
    modulations,
    narrows,
    noises,
    optimizers,
    tile_sizes,
    tokens,
    unchanged,
    weight_gradients,
    winograds,
)

PAGE = "docs/speed.md"
VERSION = 1  # raise it when what is timed changes, so that results are not mixed with earlier ones
KEPT, NOT_KEPT, WITHOUT_AVX512 = "kept", "not kept", "kept without AVX-512"  # the tables


@dataclass(frozen=True)
class Way:
    """Two variants of the same computation.

    Attributes:
        name: name in the table.
        table: KEPT if the second variant replaced the first, WITHOUT_AVX512 if it did so only on processors without
            these instructions, which alone can measure it; NOT_KEPT if the first is in use.
        sides: both variants, for a size in pixels.
        returned: unit, "MB" or "s", of the bytes or seconds that the variants return; "" to time them instead.
    """

    name: str
    table: str
    sides: Callable[[int], Sides]
    returned: str = ""

    def file(self, options: Options) -> str:
        """Name of the file with the results."""
        return f"speed/ways/{self.name.replace('/', ' ')} {key_of(VERSION, options.timing)}"

    def measure(self, options: Options) -> list[list[float]]:
        """Measure both variants."""
        torch.set_num_threads(options.threads)
        torch.manual_seed(0)
        sides = self.sides(options.fewer(SIZE, 16))
        turns = [[self._figure(side) for side in sides] for _ in range(options.warmup + options.turns)]
        return [list(figures) for figures in zip(*turns[options.warmup :], strict=True)]

    def _figure(self, side: Work) -> float:
        began = clock(torch.device("cpu"))
        result = side()
        return result if self.returned else clock(torch.device("cpu")) - began


AT = f"{CHANNELS} channels at {SIZE} px"
WAYS = (
    Way("features laid out channels last from 64 px on: synthesis, forward", KEPT, partial(layouts, "forward")),
    Way("... forward, and backward to all weights", KEPT, partial(layouts, "weights")),
    Way("... forward, and backward to the codes alone", KEPT, partial(layouts, "codes")),
    Way("CLIP's tokens laid out length first: ViT-B/16, forward, and backward to two images", KEPT,
        partial(tokens, "ViT-B/16")),
    Way("... ViT-B/32", KEPT, partial(tokens, "ViT-B/32")),
    Way("choosing layers on 8 images: all at once, or as many at a time as an iteration trains (2)", KEPT, choices),
    Way(f"to-RGB as a matrix product per image, {AT}, both ways", KEPT, colors),
    Way("Adam as one fused kernel, 25 million parameters", KEPT, optimizers),
    Way("a synthesis layer as one operation with a gradient of its own: forward, and backward to all weights", KEPT,
        partial(layers, "weights")),
    Way("... one operation: forward, and backward to the codes alone", KEPT, partial(layers, "codes")),
    Way("kept between forward and backward, if a synthesis layer is one operation: 2 images of 256 px", KEPT,
        partial(memories, 1), returned="MB"),
    Way("... of 512 px", KEPT, partial(memories, 2), returned="MB"),
    Way("... of 1024 px", KEPT, partial(memories, 4), returned="MB"),
    Way("a 3x3 convolution by Winograd's F(4x4, 3x3), both ways: 512 channels at 64 px", KEPT,
        partial(convolutions, 512, 64)),
    Way("... 256 channels at 128 px, both ways by Winograd's F(4x4, 3x3)", KEPT, partial(convolutions, 256, 128)),
    Way("all 3x3 convolutions from 256 channels on by Winograd's F(4x4, 3x3): forward", KEPT,
        partial(winograds, "forward")),
    Way("... F(4x4, 3x3): forward, and backward to all weights", KEPT, partial(winograds, "weights")),
    Way("... F(4x4, 3x3): forward, and backward to the codes alone", KEPT, partial(winograds, "codes")),
    Way("noise of an iteration on 2 images of 1024 px: drawn, or cut out of a pool", KEPT, noises),
    Way(f"weights modulated for each image, {AT}, training", NOT_KEPT, partial(modulations, "one by one", "training")),
    Way("... for the codes alone, as the choice of layers needs it", NOT_KEPT,
        partial(modulations, "one by one", "codes")),
    Way("... as one grouped convolution, training", NOT_KEPT, partial(modulations, "grouped", "training")),
    Way("... as one grouped convolution, codes alone", NOT_KEPT, partial(modulations, "grouped", "codes")),
    Way(f"the blur after upsampling as two one-dimensional filters, {AT}, both ways", NOT_KEPT, blurs),
    Way("the transposed convolution 256 -> 128 channels to 256 px as four small ones, both ways", NOT_KEPT,
        partial(doublings, "four")),
    Way("... as the gradient of a convolution", NOT_KEPT, partial(doublings, "gradient")),
    Way(f"bfloat16: 3x3 convolution, {AT}, forward", NOT_KEPT, partial(halves, "convolution")),
    Way("bfloat16: matrix product of 2048 x 2048", NOT_KEPT, partial(halves, "product")),
    Way(f"Winograd's F(4x4, 3x3), {AT}, both ways", NOT_KEPT, partial(convolutions, CHANNELS, SIZE)),
    Way("Winograd's F(2x2, 3x3): forward, and backward to all weights", NOT_KEPT, tile_sizes),
    Way("nothing reordered between oneDNN's layouts, an iteration with all layers", NOT_KEPT, unchanged, returned="s"),
    Way("squared weights kept for the demodulation of frozen layers, all layers", NOT_KEPT, energies),
    Way(f"weight gradient of the transposed convolution {2 * CHANNELS} -> {CHANNELS} channels to {SIZE} px, channels "
        "last, as nine matrix products", WITHOUT_AVX512, partial(weight_gradients, 128)),
    Way("... 512 -> 512 channels to 64 px", WITHOUT_AVX512, partial(weight_gradients, 32)),
    Way(f"a 3x3 convolution by Winograd's F(4x4, 3x3), both ways: {AT}", WITHOUT_AVX512,
        partial(convolutions, CHANNELS, SIZE)),
    Way("... 64 channels at 256 px, both ways by Winograd's F(4x4, 3x3)", WITHOUT_AVX512,
        partial(convolutions, 64, SIZE)),
    Way("all convolutions of synthesis so, or as with AVX-512: forward", WITHOUT_AVX512, partial(narrows, "forward")),
    Way("... all convolutions: forward, and backward to all weights", WITHOUT_AVX512, partial(narrows, "weights")),
    Way("... all convolutions: forward, and backward to the codes alone", WITHOUT_AVX512, partial(narrows, "codes")),
)  # fmt: skip


def measure(table: str, options: Options) -> Iterator[str]:
    for way in (way for way in WAYS if way.table == table):
        for first, second in options.kept(way.file(options), partial(way.measure, options)):
            yield f"{way.name}: {way_cell(way, first)} | {way_cell(way, second)}"


def show(table: str, options: Options) -> Shown:
    found = {way: result for way in WAYS if way.table == table and (result := options.found(way.file(options)))}
    rows = [[way.name, *(way_cell(way, figures) for figures in sides)] for way, sides in found.items()]
    columns = ["the way in use", "instead"] if table == NOT_KEPT else ["before", "after"]
    return Shown(grid([table, *columns], rows) if rows else "")


def way_cell(way: Way, figures: list[float]) -> str:
    return f"{median(figures) / 1e6:.0f} MB" if way.returned == "MB" else f"{median(figures):.3f} s"


TABLES = [
    Table(
        f"speed/ways/{name}", PAGE, partial(measure, name), partial(show, name), without_avx512=name == WITHOUT_AVX512
    )
    for name in (KEPT, NOT_KEPT, WITHOUT_AVX512)
]
