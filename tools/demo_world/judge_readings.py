"""Estimates of a judge for true drawings of each kind, and values of true drawings in the picture checks.

    python tools/demo_world/judge_readings.py nada/demo/judge.safetensors

measures them again for a finished judge, and writes them into its file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from nada.checkpoint.saving import write_safetensors
from nada.demo.world import SPECIES, STYLES, draw, learned_parameters
from nada.measure.demo_judge import KEY, Judge, load_judge
from nada.measure.metrics import correlations
from nada.measure.picture_checks import CHECKS, checked

SHARES = (0.01, 0.99)  # quantiles of true drawings between which a check is passed
MARGIN = 0.15  # added on both sides of a range, as a share of its width
SEED = 300_000_031  # no album and no training uses it


def normal_ranges(style: str, count: int = 70) -> dict[str, list[float]]:
    """{check: [lowest, highest value]} for nearly all true drawings of a style, of all species."""
    noise = torch.Generator().manual_seed(SEED)
    each = max(1, count // len(SPECIES))
    pictures = torch.cat([draw(learned_parameters(each, noise), a, style, noise) for a in SPECIES])
    ranges = {}
    for name, values in checked(pictures, style).items():
        low, high = (values.quantile(share).item() for share in SHARES)
        margin = MARGIN * max(high - low, 0.02)
        ranges[name] = [low - margin, high + margin]
    return ranges


def readings(judge: Judge, count: int = 120) -> dict[str, dict[str, list[float]]]:
    """{"readable": {kind: correlations with the truth}, "spreads": {kind: deviations}} of what is read, by kind.

    Args:
        judge: the judge.
        count: drawings of each kind, which no training has seen; the same individuals in all kinds.
    """
    noise = torch.Generator().manual_seed(SEED)
    individuals = learned_parameters(count, noise)
    readable, spreads = {}, {}
    for style in STYLES:
        for species in SPECIES:
            read: Tensor = judge.read(draw(individuals, species, style, noise) * 2 - 1).parameters
            readable[f"{style} {species}"] = [round(r, 3) for r in correlations(individuals.values, read).tolist()]
            spreads[f"{style} {species}"] = [round(max(s, 1e-3), 4) for s in read.std(0).tolist()]
    return {"readable": readable, "spreads": spreads}


def facts(judge: Judge) -> dict[str, dict]:
    """All that is measured once, when a judge is finished: readable, spreads, ranges; see `nada.measure.Judge`."""
    return {**readings(judge), "ranges": {style: normal_ranges(style) for style in CHECKS}}


def main() -> None:
    """Measure the facts of a finished judge again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judge", type=Path, help="the .safetensors file to read, and to write again")
    path = parser.parse_args().judge
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()[KEY])
    write_safetensors(load_file(path), {KEY: json.dumps(description | facts(load_judge(path)))}, path)


if __name__ == "__main__":
    main()
