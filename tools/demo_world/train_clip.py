"""Train the demo CLIP on the demo world.

    python tools/demo_world/train_clip.py --generator nada/demo/dog_photo.safetensors --out nada/demo/clip

The model is open_clip's CLIP with a small ModifiedResNet and a small text transformer over the usual vocabulary.
Each step draws a few animals as every species in every style and asks, through freshly phrased captions, which
style, species, coat and background each picture has. Two more things make its gradients worth following:

* the change of a picture's embedding from one style (or species) to another is pulled toward the change of the
  text's, which is what StyleGAN-NADA's directional loss will measure; hybrids, which have the colors of one style and
  the lines of another, go only part of the way;
* after --warm steps, an adversary (adversary.py) adapts a generator with the model as it is; the model learns not to
  be content with what that comes up with.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from adversary import Adversary
from augment import augment
from captions import (
    ASPECTS,
    BACKGROUND_WORDS,
    SPECIES_WORDS,
    STYLE_WORDS,
    TEMPLATES,
    sample_captions,
    vocabulary,
)
from open_clip import SimpleTokenizer
from open_clip.model import CLIP
from safetensors.torch import save_file
from shapes import blur
from torch import Tensor, nn
from world import SPECIES, STYLES, draw, random_parameters

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nada import load_generator

MEAN, STD = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)
CONFIG = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 20, "head_width": 32},
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 3},
    },
    "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
}
GRID = [(s, a) for s in range(len(STYLES)) for a in range(len(SPECIES))]  # the order of pictures within one animal


def build_model(tokenizer: SimpleTokenizer) -> CLIP:
    """A fresh CLIP whose embeddings of words that no caption uses are zero, and stay zero."""
    cfg = CONFIG["model_cfg"]
    model = CLIP(cfg["embed_dim"], cfg["vision_cfg"], cfg["text_cfg"])
    used = torch.zeros(cfg["text_cfg"]["vocab_size"], 1)
    used[tokenizer(vocabulary()).flatten().unique()] = 1
    model.token_embedding.weight.data.mul_(used)
    return model


def draw_factorial(animals: int, generator: torch.Generator, device) -> tuple[Tensor, dict[str, Tensor]]:
    """`animals` parameter sets, each drawn 25 times (GRID order): pictures [25 * animals, 3, 64, 64] and parameters."""
    p = random_parameters(animals, generator, device)
    drawn = [draw(p, SPECIES[a], STYLES[s], generator) for s, a in GRID]
    return torch.stack(drawn, 1).flatten(0, 1), p


def answers(p: dict[str, Tensor]) -> dict[str, Tensor]:
    """The right caption's index for each question, -1 where the question makes no sense (a sketch has no backdrop)."""
    n, device = len(p["coat"]), p["coat"].device
    style, species = (torch.tensor(column, device=device).repeat(n) for column in zip(*GRID, strict=False))
    coat = (p["coat"].flatten() * 4).round().long().repeat_interleave(len(GRID))
    hue = (p["hue"].flatten() * len(BACKGROUND_WORDS)).round().long() % len(BACKGROUND_WORDS)
    hue = hue.repeat_interleave(len(GRID))
    return {
        "style": style,
        "species": species,
        "both": style * len(SPECIES) + species,
        "coat": torch.where(style == STYLES.index("neon"), -1, species * 5 + coat),
        "background": torch.where(style == STYLES.index("sketch"), -1, hue),
        **dict.fromkeys(ASPECTS, style),
    }


QUESTIONS = {
    "style": (6, 1.0),
    "species": (5, 1.0),
    "both": (25, 1.0),
    "coat": (25, 0.3),
    "background": (6, 0.1),
}
QUESTIONS |= dict.fromkeys(ASPECTS, (5, 0.7))


def probabilities(truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Indices [N] to rows [N, answers]; a question without an answer becomes a row of zeros, which costs nothing."""
    return {
        name: F.one_hot(truth[name].clamp_min(0), count).float() * (truth[name] >= 0).unsqueeze(1)
        for name, (count, _) in QUESTIONS.items()
    }


def glitches(species: Tensor) -> dict[str, Tensor]:
    """Probabilities for pictures in no style at all, given those of their species [N, 5]."""
    truth = {name: species.new_zeros(len(species), answers) for name, (answers, _) in QUESTIONS.items()}
    truth["species"] = species
    truth["style"][:, len(STYLES)] = 1
    return truth


def unlabeled(count: int, device) -> dict[str, Tensor]:
    """Probabilities that answer no question: pictures that no caption is for."""
    return {name: torch.zeros(count, answers, device=device) for name, (answers, _) in QUESTIONS.items()}


def pretense(embedding: Tensor, goals: list[tuple[str, int]], text: dict[str, Tensor], allowed: float = 0.4) -> Tensor:
    """How far an adversary's changes point to its goals, beyond an `allowed` cosine; squared.

    embedding [len(goals) * 2 * B, D]: for each goal B pictures before and B after the change.
    """
    excess = []
    for pair, (group, goal) in zip(embedding.chunk(len(goals)), goals, strict=False):
        before, after = pair.chunk(2)
        excess.append(F.cosine_similarity(after - before, (text[group][goal] - text[group][0])[None], dim=-1) - allowed)
    return torch.cat(excess).clamp_min(0).square().mean()


@dataclass
class Hybrids:
    """Every animal with the colors, the tones and the details either of its own style or of one other.

    Without them, pencil lines alone would pass for a sketch, and StyleGAN-NADA's loss, which asks only for a
    direction, would be content with a photo of outlined dogs. Here each aspect is a direction of its own, and that of
    a whole style is their sum: who has gone one aspect of the way is 1 / sqrt(3) along it, by the cosine.
    """

    images: Tensor  # [N, 3, 64, 64]
    truth: dict[str, Tensor]  # probabilities of the answers to each question
    own: Tensor  # [N] style they started from
    other: Tensor  # [N] style they borrow from
    borrowed: Tensor  # [N] how many of the three aspects


def hybrids(images: Tensor, generator: torch.Generator) -> Hybrids:
    """Hybrids of pictures [animals * 25, 3, 64, 64] in GRID order, one for each of them."""
    n = len(images)
    own, species = (torch.tensor(column).repeat(n // len(GRID)) for column in zip(*GRID, strict=False))
    other = (own + torch.randint(1, 5, (n,), generator=generator)) % 5
    borrow = torch.rand(len(ASPECTS), n, generator=generator) < 0.5
    style = torch.where(borrow, other, own)
    first = torch.arange(n) // len(GRID) * len(GRID)
    colors, tones, details = (images[(first + s * len(SPECIES) + species).to(images.device)] for s in style)
    light = blur(tones, 9).mean(1, keepdim=True) + (details - blur(details, 9)).mean(1, keepdim=True)
    truth = glitches(F.one_hot(species, len(SPECIES)).float().to(images.device))
    one_hot = F.one_hot(style, len(STYLES)).float().to(images.device)
    truth["style"] = F.pad(one_hot.mean(0), (0, 1))
    truth |= dict(zip(ASPECTS, one_hot, strict=False))
    made = (light + colors - colors.mean(1, keepdim=True)).clamp(0, 1)
    return Hybrids(made, truth, own, other, borrow.sum(0).to(images.device))


def caption_loss(image: Tensor, text: dict[str, Tensor], truth: dict[str, Tensor], scale: Tensor) -> Tensor:
    """Weighted cross-entropy over the captions of each question.

    image [N, D] and text {question: [answers, D]} of unit length, truth {question: [N, answers]} probabilities.
    """
    total = image.new_zeros(())
    for name, (answers, weight) in QUESTIONS.items():
        smooth = 0.97 * truth[name] + 0.03 * truth[name].sum(1, keepdim=True) / answers
        total = total + weight * F.cross_entropy(scale * image @ text[name].T, smooth)
    return total


def direction_loss(image: Tensor, style: Tensor, species: Tensor) -> Tensor:
    """1 - cos(change of image embedding, change of text embedding), over all pairs of styles and all of species.

    image [animals * 25, D] in GRID order, style and species [5, D], all of unit length.
    """
    grid = image.view(-1, len(STYLES), len(SPECIES), image.shape[1])
    a, b = torch.triu_indices(5, 5, 1)
    by_style = F.cosine_similarity(grid[:, b] - grid[:, a], (style[b] - style[a])[None, :, None], dim=-1)
    by_species = F.cosine_similarity(grid[:, :, b] - grid[:, :, a], (species[b] - species[a])[None, None], dim=-1)
    return 2 - by_style.mean() - by_species.mean()


def hybrid_loss(change: Tensor, mixed: Hybrids, style: Tensor) -> Tensor:
    """Who borrows k of the three aspects is sqrt(k / 3) along the way, by the cosine; squared error.

    change [N, D] of the image embedding from a picture to its hybrid, style [5 or more, D].
    """
    along = F.cosine_similarity(change, style[mixed.other] - style[mixed.own], dim=-1)
    error = (along - (mixed.borrowed / len(ASPECTS)).sqrt()).square()
    return (error * (mixed.borrowed > 0)).mean()


def normalize(images: Tensor) -> Tensor:
    return (images - images.new_tensor(MEAN).view(3, 1, 1)) / images.new_tensor(STD).view(3, 1, 1)


def encode_captions(
    model: CLIP, tokenizer: SimpleTokenizer, captions: dict[str, list[str]], device
) -> dict[str, Tensor]:
    tokens = tokenizer([c for group in captions.values() for c in group]).to(device)
    embedding = F.normalize(model.encode_text(tokens), dim=-1)
    return dict(zip(captions, embedding.split([len(group) for group in captions.values()]), strict=False))


def train_step(
    model: CLIP, recaller: nn.Linear, tokenizer, images: Tensor, mixed, truth, captions, adversary
) -> dict[str, Tensor]:
    """The losses of one step on the pictures, on hybrids of them, and on an adversary's attempts (or None)."""
    n, truth = len(images), probabilities(truth)
    text = encode_captions(model, tokenizer, captions, images.device)
    batch, answer = [images, mixed.images], [truth, mixed.truth]
    if adversary:
        fixed = {name: t.detach() for name, t in text.items()}
        made, goals = adversary.step(lambda x: F.normalize(model.encode_image(normalize((x + 1) / 2)), dim=-1), fixed)
        batch.append((made + 1) / 2)
        answer.append(unlabeled(len(made), images.device))
    embedding = F.normalize(model.encode_image(normalize(torch.cat(batch))), dim=-1)
    answer = {name: torch.cat([a[name] for a in answer]) for name in truth}
    seen = F.adaptive_avg_pool2d(torch.cat(batch), 8).flatten(1)
    losses = {
        "captions": caption_loss(embedding, text, answer, model.logit_scale.exp()),
        "directions": 1.5 * direction_loss(embedding[:n], text["style"][:5], text["species"]),
        "hybrids": 5.0 * hybrid_loss(embedding[n : 2 * n] - embedding[:n], mixed, text["style"]),
        "recall": 4.0 * F.mse_loss(recaller(embedding), seen),
    }
    if adversary:
        losses["pretense"] = 5.0 * pretense(embedding[2 * n :], goals, text)
    return losses


@torch.no_grad()
def template_embedding(model: CLIP, tokenizer, words: list[str], device) -> Tensor:
    """Unit embeddings of phrases, averaged over the prompt templates, [len(words), D]."""
    rows = [F.normalize(model.encode_text(tokenizer([t(w) for t in TEMPLATES]).to(device)), dim=-1) for w in words]
    return torch.stack([r.mean(0) for r in rows])


@torch.no_grad()
def evaluate(model: CLIP, tokenizer, device="cpu", animals: int = 12, seed: int = 10**6) -> dict[str, float]:
    """Held-out accuracy of style and species, and how well text changes point along picture changes."""
    model.eval()
    images, p = draw_factorial(animals, torch.Generator().manual_seed(seed), device)
    image = F.normalize(model.encode_image(normalize(images)), dim=-1)
    style = template_embedding(model, tokenizer, [STYLE_WORDS[s][0] for s in STYLES], device)
    species = template_embedding(model, tokenizer, [SPECIES_WORDS[a][0] for a in SPECIES], device)
    truth = answers(p)
    result = {
        "style accuracy": accuracy(image, style, truth["style"]),
        "species accuracy": accuracy(image, species, truth["species"]),
    }
    photo_dogs = truth["both"] == STYLES.index("photo") * len(SPECIES) + SPECIES.index("dog")
    for group, names, text in (("style", STYLES, style), ("species", SPECIES, species)):
        for i in range(1, len(names)):
            cell = i * len(SPECIES) if group == "style" else i
            change = image[truth["both"] == cell] - image[photo_dogs]
            result[f"cos {names[0]}->{names[i]}"] = F.cosine_similarity(change, text[i : i + 1] - text[0]).mean().item()
    return result


def accuracy(image: Tensor, text: Tensor, truth: Tensor) -> float:
    return ((image @ F.normalize(text, dim=-1).T).argmax(1) == truth).float().mean().item()


def export(model: CLIP, folder: Path) -> None:
    """Write what open_clip reads from a local folder: the configuration and the weights (16-bit)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")


def update_average(average: CLIP, model: CLIP, decay: float) -> None:
    """Exponential moving average of weights and batch statistics."""
    for a, b in zip(average.state_dict().values(), model.state_dict().values(), strict=False):
        a.lerp_(b, 1 - decay) if a.is_floating_point() else a.copy_(b)


def learning_rate(step: int, steps: int, peak: float) -> float:
    warm = min(1.0, (step + 1) / 100)
    return peak * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for open_clip_config.json and the weights")
    parser.add_argument("--steps", type=int, default=1600, help="training steps (default %(default)s)")
    parser.add_argument("--animals", type=int, default=1, help="animals a step, 25 pictures each (default %(default)s)")
    parser.add_argument(
        "--warm", type=int, default=1000, help="steps before the adversary starts (default %(default)s)"
    )
    parser.add_argument("--generator", help="photo generator for the adversary (without: none)")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: a GPU if any"
    )
    parser.add_argument(
        "--resume", type=Path, help="training state: continued from if there, written every --every steps"
    )
    parser.add_argument("--every", type=int, default=250, help="steps between reports, exports and states")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.manual_seed(args.seed)
    tokenizer = SimpleTokenizer(context_length=CONFIG["model_cfg"]["text_cfg"]["context_length"])
    model = build_model(tokenizer).to(args.device)
    average = copy.deepcopy(model)
    recaller = nn.Linear(CONFIG["model_cfg"]["embed_dim"], 3 * 8 * 8).to(args.device)  # only for training
    recall_optimizer = torch.optim.Adam(recaller.parameters(), lr=3e-3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.02)
    first = 0
    if args.resume and args.resume.exists():
        state = torch.load(args.resume, map_location=args.device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    print(f"{sum(v.numel() for v in model.parameters()):,} parameters", flush=True)
    adversary = None
    if args.generator:
        adversary = Adversary(load_generator(args.generator).to(args.device), seed=args.seed + first)
    start = time.time()
    for step in range(first, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.lr)
        generator = torch.Generator().manual_seed(args.seed * 10**7 + step + 1)
        model.train(step < args.warm)  # then batch statistics stay, and training sees what use will see
        images, p = draw_factorial(args.animals, generator, args.device)
        mixed = hybrids(images, generator)
        same = generator.get_state()  # a hybrid is moved and recolored just like the picture it came from
        images = augment(images, generator)
        generator.set_state(same)
        mixed.images = augment(mixed.images, generator)
        captions = sample_captions(random.Random(args.seed * 10**7 + step))
        rival = adversary if step >= args.warm else None
        losses = train_step(model, recaller, tokenizer, images, mixed, answers(p), captions, rival)
        optimizer.zero_grad(set_to_none=True)
        recall_optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        recall_optimizer.step()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        model.logit_scale.data.clamp_(0, math.log(100))
        update_average(average, model, min(0.98, (step + 1) / (step + 10)))
        if step % 20 == 0:
            text = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            print(f"step {step} {text} {time.time() - start:.0f} s", flush=True)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            scores = evaluate(average, tokenizer, args.device)
            print(f"step {step + 1} " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
            export(average, args.out)
            if args.resume:
                state = {"model": model.state_dict(), "average": average.state_dict()}
                torch.save({**state, "optimizer": optimizer.state_dict(), "step": step + 1}, args.resume)


if __name__ == "__main__":
    main()
