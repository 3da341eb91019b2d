"""Size of a style file at 1024 px for each kind of training: `python benchmarks/style_size.py`.

Weights and differences are random, since the size does not depend on them. The differences of "lora" have the rank that
training would give them, which the style has to detect.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from nada import Generator, GeneratorConfig, Style, save_generator, save_style
from nada.stylegan2 import standard_channels
from nada.training.trainable import PARTS

RANK = 8


@torch.no_grad()
def disturbed(generator: Generator, kind: str, layers: list[str]) -> Generator:
    """A copy with a change in every parameter that this kind of training changes."""
    changed = copy.deepcopy(generator)
    for layer in layers:
        for name, parameter in changed.synthesis.layer(layer).named_parameters():
            if name not in PARTS[kind]:
                continue
            change = torch.randn_like(parameter) * 0.01
            if kind == "lora" and name == "weight":
                outputs, inputs = parameter.flatten(1).shape
                change = (torch.randn(outputs, RANK) @ torch.randn(RANK, inputs) * 0.01).view_as(parameter)
            parameter.add_(change)
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=1024, help="size of the generator (default: %(default)s)")
    args = parser.parse_args()
    torch.manual_seed(0)
    base = Generator(GeneratorConfig(args.resolution, standard_channels(args.resolution)))
    convs, everything = list(base.synthesis.conv_layers), list(base.synthesis.latent_of)
    cases = [("stylespace", convs, None), ("stylespace", everything, None), ("affine", convs, None)]
    cases += [("lora", convs, None), ("weights", convs, 16), ("weights", convs, None)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.safetensors"
        save_generator(base, path)
        whole = path.stat().st_size
        print(f"{'generator':45} {whole / 1e6:10.3f} MB")
        for kind, layers, rank in cases:
            save_style(Style.between(base, disturbed(base, kind, layers), rank), path)
            name = (
                f"{kind}{' with to-RGB' if len(layers) > len(convs) else ''}{f', kept at rank {rank}' if rank else ''}"
            )
            size = path.stat().st_size
            print(f"{name:45} {size / 1e6:10.3f} MB   1/{whole / size:.0f}", flush=True)


if __name__ == "__main__":
    main()
