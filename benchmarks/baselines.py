"""StyleGAN-NADA compared with earlier methods, on one generator and text: `python benchmarks/baselines.py`.

StyleCLIP changes latent codes within what the generator can make: by optimization, or by a mapper on the unadapted
generator. Training the generator with the global CLIP loss leaves its domain and collapses. The directional loss is
StyleGAN-NADA; with the latent mapper on top, its images show the target more often.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from nada import (
    AdaptConfig,
    ClipEnsemble,
    Generator,
    MapperConfig,
    OptimizeConfig,
    adapt,
    generate,
    load_clip,
    load_generator,
    optimize_latents,
    sample_latents,
    train_mapper,
)
from nada.cli.shared import pick_device
from nada.losses import unit
from nada.pictures.grids import filmstrip

ROWS = 6  # number of latents in the picture


@torch.no_grad()
def measure(clip: ClipEnsemble, images: Tensor, source: str, target: str, seconds: float) -> dict[str, float]:
    """Measure by the first CLIP model: similarity to the target, share closer to it than to the source, variety."""
    model = clip.models[0]
    embedded = torch.cat([unit(model.encode_image(part.to(model.mean.device))) for part in images.split(16)])
    likeness = embedded @ unit(model.encode_text([source, target])).T
    pairs = 1 - embedded @ embedded.T
    return {
        "cosine to the target": round(float(likeness[:, 1].mean()), 3),
        "nearer to it than to the source": round(float((likeness[:, 1] > likeness[:, 0]).float().mean()), 3),
        "diversity (mean pairwise 1 - cosine)": round(float(pairs.sum() / (len(pairs) * (len(pairs) - 1))), 4),
        "seconds": round(seconds, 1),
    }


def compare(args: argparse.Namespace) -> tuple[dict[str, dict[str, float]], list[tuple[str, Tensor]]]:
    """Apply all methods to the same codes: {method: measures}, and (method, images) for the picture."""
    device = pick_device(args.device)
    base, clip = load_generator(args.generator).to(device), load_clip(args.clip, device)
    ws = sample_latents(base, args.count, args.seed)
    table, pictures = {}, []

    def show(name: str, generator: Generator, codes: Tensor, began: float) -> None:
        seconds = time.perf_counter() - began
        images = generate(generator, codes)
        table[name] = measure(clip, images, args.source, args.target, seconds)
        pictures.append((name, images[:ROWS]))
        print(name, table[name], file=sys.stderr, flush=True)

    def adapted(**weights: float) -> Generator:
        settings = {"iterations": args.iterations, "batch": args.batch, "layers": "all", "views": args.views}
        *_, last = adapt(base, clip, AdaptConfig(args.source, args.target, **settings, **weights))
        return last.generator

    def moved(generator: Generator) -> Tensor:
        *_, last = train_mapper(generator, clip, MapperConfig(args.target, args.mapper_iterations))
        return last.mapper.requires_grad_(False)(ws)

    show("base", base, ws, time.perf_counter())
    began = time.perf_counter()
    *_, last = optimize_latents(base, clip, ws, OptimizeConfig(args.target, args.optimize_iterations))
    show("optimization", base, last.ws, began)
    began = time.perf_counter()
    show("mapper", base, moved(base), began)
    began = time.perf_counter()
    show("global loss", adapted(directional_weight=0.0, global_weight=1.0), ws, began)
    began = time.perf_counter()
    nada = adapted()
    show("NADA", nada, ws, began)
    began = time.perf_counter()
    show("NADA + mapper", nada, moved(nada), began)
    return table, pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="demo", help="generator, as for `nada adapt` (default: %(default)s)")
    parser.add_argument("--clip", default="demo", help="CLIP models, as for `nada adapt` (default: %(default)s)")
    parser.add_argument("--source", default="dog", help="source text (default: %(default)s)")
    parser.add_argument("--target", default="pig", help="target text (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=80, help="iterations of adaptations (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="batch of adaptations (default: %(default)s)")
    parser.add_argument("--views", type=int, default=2, help="views in adaptations (default: %(default)s)")
    parser.add_argument(
        "--mapper-iterations", type=int, default=300, help="iterations of a mapper's training (default: %(default)s)"
    )
    parser.add_argument(
        "--optimize-iterations", type=int, default=300, help="iterations for codes (default: %(default)s)"
    )
    parser.add_argument("--count", type=int, default=48, help="images to measure (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first image (default: %(default)s)")
    parser.add_argument("--picture", type=Path, help="file for a picture with the first images of every method")
    parser.add_argument("--device", default="auto", help="device (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the measures as JSON")
    args = parser.parse_args()
    table, pictures = compare(args)
    if args.picture:
        filmstrip(pictures).save(args.picture)
    if args.json:
        print(json.dumps(table))
        return
    for name, figures in table.items():
        print(f"{name:14} " + "  ".join(f"{key} {value}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
