"""Train the judge of the demo world: style, species and parameters of a picture, or "none of these".

    python tools/demo_world/train_judge.py --album album --out judge.safetensors --state judge.pt

It learns from an album's drawings, disturbed in other ways than for the CLIP models, and from pictures that it must
refuse: double exposures and patchworks of two styles or species, colors of one with the details of another, creatures
between two species, faces without eyes, smears, wiped faces, jumbles, textures, and what generators make whose weights
were changed at random (--negatives). Images of adaptations, failed ones and others, join them with what was seen in
them (--adaptations). Part of the pictures are moved against its own gradient.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from album import Pages, read_pages
from captions import SPECIES_WORDS, STYLE_WORDS
from checkpoints import Every, read_state, write_state
from judge_readings import facts
from labeled import Labeled, read_labeled
from rows import batches
from safetensors.torch import save_file
from spoiled import bent_generator, borrowed, clouds, half_way, patchwork, spoiled, uniform

from nada import Generator, load_generator
from nada.demo.drawing.pens import blur, gray
from nada.demo.world import NAMES, SPECIES, STYLES
from nada.measure.demo_judge import KEY, VERSION, Judge, load_judge

SEED = 77_000_000
PAIRS = 20  # individuals per step, each in two pictures
REFUSED = 24  # pictures per step that are none of these, or in between
EYELESS, ADAPTED = 6, 14  # pictures per step of faces without eyes, and of adaptations
SURE, UNSURE = 0.12, 0.30  # share of another style up to which a picture is of its own, and from which it is of none
PIXELS = 2.5  # root of the summed squares of a step against the judge's gradient


def description() -> dict:
    """The names that a judge knows."""
    words = {w.lower(): ("style", s) for s, many in STYLE_WORDS.items() for w in many}
    words |= {w.lower(): ("species", a) for a, many in SPECIES_WORDS.items() for w in many}
    return {"format": VERSION, "styles": STYLES, "species": SPECIES, "parameters": NAMES, "words": words}


def disturbed(images: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures [N, 3, H, W] in 0..1 with fringes, gamma, softness, gratings and noise, each in some of them only."""
    count, _, size, _ = images.shape

    def some(part: float) -> Tensor:
        return (torch.rand(count, 1, 1, 1, generator=rng) < part).float()

    images = torch.lerp(images, fringed(images, rng), some(0.35))
    vivid = torch.lerp(gray(images).unsqueeze(1).expand_as(images), images, uniform(count, 0.4, 1.9, rng))
    images = torch.lerp(images, vivid.clamp(0, 1), some(0.35))
    images = torch.lerp(images, images.clamp(1e-3, 1) ** uniform(count, 0.75, 1.33, rng, 3), some(0.5))
    soft = F.interpolate(F.avg_pool2d(images, 2), size=size, mode="bilinear", align_corners=False)
    images = torch.lerp(images, soft, uniform(count, 0.3, 1.0, rng) * some(0.3))
    axis = torch.arange(size) / size * 2 * math.pi
    wave = torch.sin(
        uniform(count, 2, 50, rng) * axis + uniform(count, 2, 50, rng) * axis[:, None] + uniform(count, 0, 6, rng)
    )
    images = images + wave * uniform(count, -0.06, 0.06, rng, 3) * some(0.3)
    images = images + torch.randn(images.shape, generator=rng) * uniform(count, 0, 0.09, rng) * some(0.5)
    images = images + 0.06 * clouds(count, size, 6, rng, 3) * some(0.3)
    return images.clamp(0, 1)


def fringed(images: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures with overdone details, moved a little in each color: halos and colored fringes, as of adaptations."""
    details = images - blur(images, int(torch.randint(1, 5, (), generator=rng)) * 2 + 1)
    moves = torch.randint(-2, 3, (3, 2), generator=rng).tolist()
    moved = torch.stack([details[:, k].roll(move, (1, 2)) for k, move in enumerate(moves)], 1)
    return (images + uniform(len(images), 0.3, 2.0, rng, 3) * moved).clamp(0, 1)


class Refused:
    """Makes pictures that are none of the styles or species, with soft answers."""

    def __init__(self, generators: list[Generator]):
        self.generators = generators

    def batch(self, pages: Pages, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures in 0..1 from individuals, and probabilities of styles and species, `NONE` last."""
        first, second = (pages.pictures[:, k].float() / 255 for k in (0, 1))
        part = len(first) // 4
        mixed, shares = [], []
        for number, make in enumerate((half_way, patchwork, borrowed)):
            rows = slice(number * part, (number + 1) * part)
            picture, amount = make(first[rows], second[rows], rng)
            mixed.append(picture)
            shares.append(amount)
        rows, share = slice(0, 3 * part), torch.cat(shares)
        pictures, gone = torch.cat(mixed), pages.share[rows]
        creature = (gone > 0) & (torch.arange(3 * part) >= 2 * part)  # in place of borrowed colors
        pictures[creature], share[creature] = pages.third[rows][creature].float() / 255, gone[creature]
        styled = (pages.style[:, 0] != pages.style[:, 1])[rows]
        answers = []
        for index, known, changed in ((pages.style, len(STYLES), styled), (pages.species, len(SPECIES), ~styled)):
            answers.append(between(index[rows], share * changed, known))
        rest, _ = spoiled(first[3 * part :], rng)
        if self.generators and torch.rand((), generator=rng) < 0.7:
            rest = torch.cat([rest[: len(rest) // 2], self._generated(len(rest) - len(rest) // 2, rng)])
        blind = pages[(pages.share == 0).nonzero().flatten()[:EYELESS]]
        pictures = torch.cat([pictures, rest, blind.third.float() / 255])
        styles = torch.cat([torch.full((len(rest),), len(STYLES)), blind.style[:, 0]])
        species = torch.full((len(rest) + len(blind),), len(SPECIES))
        more = probabilities(styles, len(STYLES)), probabilities(species, len(SPECIES))
        return pictures, torch.cat([answers[0], more[0]]), torch.cat([answers[1], more[1]])

    @torch.no_grad()
    def _generated(self, count: int, rng: torch.Generator) -> Tensor:
        """Images of a generator whose weights were changed at random."""
        source = self.generators[int(torch.randint(len(self.generators), (), generator=rng))]
        bent = copy.deepcopy(source)
        bent.load_state_dict(bent_generator(source, 0.25 + 0.5 * torch.rand((), generator=rng).item(), rng))
        z = torch.randn(count, source.config.z_dim, generator=rng)
        return (bent.synthesis(bent.mapping(z), "random", rng) * 0.5 + 0.5).clamp(0, 1)


def probabilities(index: Tensor, known: int) -> Tensor:
    """Probabilities [N, known + 1] of indices [N] up to `known`; zeros, from which nothing is learned, for -1."""
    return F.one_hot(index.clamp_min(0), known + 1).float() * (index >= 0).unsqueeze(1)


def between(index: Tensor, share: Tensor, known: int) -> Tensor:
    """Probabilities [N, known + 1] of answers for pictures of `index[:, 0]` with a share of `index[:, 1]`."""
    own = probabilities(torch.where(share < 0.5, index[:, 0], index[:, 1]), known)
    none = probabilities(torch.full_like(index[:, 0], known), known)
    doubt = ((torch.minimum(share, 1 - share) - SURE) / (UNSURE - SURE)).clamp(0, 1).unsqueeze(1)
    return torch.lerp(own, none, doubt)


def judge_loss(judge: Judge, images: Tensor, styles: Tensor, species: Tensor, known: Tensor) -> Tensor:
    """Cross-entropies, and squared error of the parameters of the first len(known) pictures; images in 0..1.

    Probabilities of zero for all answers add next to nothing.
    """
    with torch.autocast(images.device.type, torch.bfloat16):  # takes half the time
        said = [part.float() for part in judge(images * 2 - 1)]
    return (
        F.cross_entropy(said[0], styles, label_smoothing=0.01)
        + F.cross_entropy(said[1], species, label_smoothing=0.01)
        + 12 * F.mse_loss(said[2][: len(known)], known)
    )


def against(judge: Judge, images: Tensor, *truth: Tensor) -> Tensor:
    """The same images a small step toward what misleads the judge most."""
    images = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(judge_loss(judge, images, *truth), images)
    length = slope.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return (images + PIXELS * slope / length).detach().clamp(0, 1)


@torch.no_grad()
def examine(
    judge: Judge, pages: Pages, refused: Refused, adapted: Labeled | None, rng: torch.Generator
) -> dict[str, dict[str, float]]:
    """Measure on new drawings: accuracy, refusals, correlation of each parameter; and agreement on adaptations."""
    judge.eval()
    said = [judge(part.float() / 127.5 - 1) for part in pages.pictures.flatten(0, 1).split(64)]
    styles, species, known = (torch.cat(column) for column in zip(*said, strict=True))
    truth = pages.parameters.values.repeat_interleave(2, 0)
    a, b = known - known.mean(0), truth - truth.mean(0)
    correlation = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp_min(1e-9)
    bad, bad_styles, bad_species = refused.batch(pages, rng)
    answers = [torch.cat(column) for column in zip(*[judge(part * 2 - 1)[:2] for part in bad.split(64)], strict=True)]
    rates = []
    for said_bad, wanted in zip(answers, (bad_styles, bad_species), strict=True):
        must = wanted[:, -1] > 0.99
        rates.append((said_bad[must].argmax(1) == wanted.shape[1] - 1).float().mean().item())
    agreed = {} if adapted is None else agreement(judge, adapted)
    judge.train()
    return {
        "accuracy": {
            **agreed,
            "style": (styles.argmax(1) == pages.style.flatten()).float().mean().item(),
            "species": (species.argmax(1) == pages.species.flatten()).float().mean().item(),
            "refused styles": rates[0],
            "refused species": rates[1],
        },
        "correlation": {name: round(value, 2) for name, value in zip(NAMES, correlation.tolist(), strict=True)},
    }


def agreement(judge: Judge, adapted: Labeled) -> dict[str, float]:
    """Share of images of adaptations in which the judge sees what they were labeled as: a name, or "none"."""
    parts = [judge(part.float() / 127.5 - 1)[:2] for part in adapted.images.split(64)]
    styles, species = (torch.cat(column).argmax(1) for column in zip(*parts, strict=True))
    found = {}
    for group, said, seen, none in (
        ("styles", styles, adapted.styles, len(STYLES)), ("species", species, adapted.species, len(SPECIES))
    ):  # fmt: skip
        for kind, rows in (("named", (seen >= 0) & (seen < none)), ("refused", seen == none)):
            found[f"adapted {group}, {kind}"] = (said == seen)[rows].float().mean().item()
    return found


def save(judge: Judge, path: Path, results: dict) -> None:
    """Write the judge, 16-bit, with what it knows and how well; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    metadata = {KEY: json.dumps({**description(), **results})}
    save_file({name: t.half().contiguous().cpu() for name, t in judge.state_dict().items()}, temporary, metadata)
    os.replace(temporary, path)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--album", type=Path, required=True, help="folder of an album's shards")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--state", type=Path, help="training state to resume from if it exists, and to write")
    parser.add_argument("--start", type=Path, help="judge to begin with")
    parser.add_argument("--adaptations", type=Path, help="folder of images that adaptations.py made")
    parser.add_argument("--negatives", type=Path, nargs="*", default=[], help="generators to change at random")
    parser.add_argument("--steps", type=int, default=3000, help="training steps (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=3.0, help="minutes between checkpoints (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Train until --steps are done, with a checkpoint every few minutes."""
    args = parse()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_flush_denormal(True)
    torch.manual_seed(SEED)
    held_out, pages = read_pages(args.album, 1), read_pages(args.album, first=1)
    refused = Refused([load_generator(path) for path in args.negatives])
    adapted, new_adapted = (args.adaptations and read_labeled(args.adaptations, held) for held in (False, True))
    judge = Judge(description())
    if args.start is not None:
        judge.load_state_dict(load_judge(args.start).state_dict())
    average = copy.deepcopy(judge).requires_grad_(False)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=args.lr, weight_decay=0.01)
    parts = {"judge": judge, "average": average, "optimizer": optimizer}
    state, first = read_state(args.state), 0
    if state is not None:
        first = state["step"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
    print(f"{sum(v.numel() for v in judge.parameters()):,} parameters, {len(pages)} individuals", flush=True)

    def keep(done: int) -> None:
        if args.state is not None:
            write_state({"step": done, **{name: part.state_dict() for name, part in parts.items()}}, args.state)

    def examined(done: int) -> dict[str, dict[str, float]]:
        results = examine(average, held_out, refused, new_adapted, torch.Generator().manual_seed(SEED - 1))
        print(done, results, flush=True)
        return results

    begun, checkpoint = time.time(), Every(args.minutes)
    for step in range(first, args.steps):
        rng = torch.Generator().manual_seed(SEED + step)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        page = next(batches(pages, PAIRS, rng))
        images = disturbed(page.pictures.flatten(0, 1).float() / 255, rng)
        styles = F.one_hot(page.style.flatten(), len(STYLES) + 1).float()
        species = F.one_hot(page.species.flatten(), len(SPECIES) + 1).float()
        known = page.parameters.values.repeat_interleave(2, 0)
        some = len(images) // 4
        images[:some] = against(judge, images[:some], styles[:some], species[:some], known[:some])
        bad, bad_styles, bad_species = refused.batch(next(batches(pages, REFUSED, rng)), rng)
        if adapted is not None:
            some_adapted = next(batches(adapted, ADAPTED, rng))
            bad = torch.cat([bad, some_adapted.images.float() / 255])
            bad_styles = torch.cat([bad_styles, probabilities(some_adapted.styles, len(STYLES))])
            bad_species = torch.cat([bad_species, probabilities(some_adapted.species, len(SPECIES))])
        everything = torch.cat([images, disturbed(bad, rng)])
        loss = judge_loss(judge, everything, torch.cat([styles, bad_styles]), torch.cat([species, bad_species]), known)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(average.parameters(), judge.parameters(), strict=True):
                a.lerp_(b, 1 - min(0.995, (step + 1) / (step + 10)))
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.3f} {time.time() - begun:.0f} s", flush=True)
        if checkpoint.due():
            keep(step + 1)
            save(average, args.out, examined(step + 1))
    done = max(first, args.steps)
    keep(done)
    save(average, args.out, examined(done) | facts(average.eval()))


if __name__ == "__main__":
    main()
