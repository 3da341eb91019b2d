"""Train the demo CLIPs on the demo world.

    python tools/demo_world/train_clip.py --architecture conv --out nada/demo/clip \\
        --generator dog=nada/demo/dog_photo.safetensors

The models are open_clip's CLIP with a small image tower (a ModifiedResNet, or a vision transformer) and a small text
transformer over the usual vocabulary. Each step draws a few animals as some species in some styles and asks, through
freshly phrased captions, which style, species, coat and background each picture has. More things make its gradients
worth following:

* two random views of a picture shall be closer to each other than to any other picture, and the animal's parameters
  shall be readable from the embedding, so that a change that makes all animals alike is no pure change of style;
* the change of an embedding from one style (or species) to another shall agree with that of the text's, and changes
  that go part of the way (partial.py) only in part;
* after --warm steps, an adversary (adversary.py) adapts generators with the model as it is; the model learns how far
  those have really come.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from adversary import Adversary, Attempt
from augment import augment
from captions import BACKGROUND_WORDS, SPECIES_WORDS, STYLE_WORDS, TEMPLATES, sample_captions, vocabulary
from open_clip import SimpleTokenizer
from open_clip.model import CLIP
from partial import Partial, partial_changes
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from world import PARAMETERS, SPECIES, STYLES, draw, random_parameters

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nada import load_generator

MEAN, STD = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)
TOWERS = {
    "conv": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 20, "head_width": 32},
    "vit": {"image_size": 64, "layers": 3, "width": 128, "head_width": 32, "patch_size": 8, "pool_type": "avg"},
}
TEXT = {"context_length": 32, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 3}
DIMENSIONS, PATCH_DROPOUT = 128, 0.5
ANIMALS, SHOWN_STYLES, SHOWN_SPECIES = 2, 4, 3  # a step's pictures: every animal in some styles as some species
QUESTIONS = {
    "style": (len(STYLES), 1.5),
    "species": (len(SPECIES), 1.5),
    "both": (len(STYLES) * len(SPECIES), 1.0),
    "coat": (5 * len(SPECIES), 0.3),
    "background": (len(BACKGROUND_WORDS), 0.1),
}  # answers, and weight of the loss
AGREEMENT = 0.93  # cosine wanted between a full change of the picture and that of the text

Cells = list[tuple[int, int, int]]  # (animal, style, species) of pictures


def config(architecture: str) -> dict:
    """What open_clip reads beside the weights."""
    return {
        "model_cfg": {"embed_dim": DIMENSIONS, "vision_cfg": TOWERS[architecture], "text_cfg": TEXT},
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }


def build_model(architecture: str, tokenizer: SimpleTokenizer, start: Path | None = None) -> CLIP:
    """A fresh CLIP, or one that goes on from a model folder; embeddings of words that no caption uses stay zero."""
    tower = TOWERS[architecture] | ({"patch_dropout": PATCH_DROPOUT} if architecture == "vit" else {})
    model = CLIP(DIMENSIONS, tower, TEXT)
    used = torch.zeros(TEXT["vocab_size"], dtype=torch.bool)
    used[tokenizer(vocabulary()).flatten().unique()] = True
    words = model.token_embedding.weight.data
    fresh = words * used[:, None]
    if start:
        tensors = load_file(start / "open_clip_model.safetensors")
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
        known = words.abs().amax(1) > 1e-6
        fresh = torch.where((used & known)[:, None], words, fresh)
    words.copy_(fresh)
    return model


def draw_cells(cells: Cells, p: dict[str, Tensor], noise: torch.Generator) -> Tensor:
    """Pictures [len(cells), 3, 64, 64] of animals with parameters `p`."""
    pictures = []
    for animal, style, species in cells:
        one = {name: value[animal : animal + 1] for name, value in p.items()}
        pictures.append(draw(one, SPECIES[species], STYLES[style], noise))
    return torch.cat(pictures)


def choose_cells(pick: random.Random) -> Cells:
    """All combinations of a few random styles and species; photos are always among them."""
    styles = [0, *pick.sample(range(1, len(STYLES)), SHOWN_STYLES - 1)]
    species = pick.sample(range(len(SPECIES)), SHOWN_SPECIES)
    return [(i, s, a) for i in range(ANIMALS) for s in styles for a in species]


def answers(cells: Cells, p: dict[str, Tensor]) -> dict[str, Tensor]:
    """The right caption's index for each question, -1 where the question makes no sense (a sketch has no backdrop)."""
    device = p["coat"].device
    animal, style, species = torch.tensor(cells, device=device).T
    coat = (p["coat"].flatten() * 4).round().long()[animal]
    hue = (p["hue"].flatten() * len(BACKGROUND_WORDS)).round().long()[animal] % len(BACKGROUND_WORDS)
    colorless = torch.tensor([s in ("sketch", "neon", "marble") for s in STYLES], device=device)[style]
    plain = torch.tensor([s in ("sketch", "marble") for s in STYLES], device=device)[style]
    return {
        "style": style,
        "species": species,
        "both": style * len(SPECIES) + species,
        "coat": torch.where(colorless, -1, species * 5 + coat),
        "background": torch.where(plain, -1, hue),
    }


def caption_loss(image: Tensor, text: dict[str, Tensor], truth: dict[str, Tensor], scale: Tensor) -> Tensor:
    """Weighted cross-entropy over the captions of each question.

    image [N, D] and text {question: [answers, D]} of unit length, truth {question: [N]}, -1 for no answer.
    """
    total = image.new_zeros(())
    for name, (_, weight) in QUESTIONS.items():
        known = truth[name] >= 0
        if known.any():
            logits = scale * image[known] @ text[name].T
            total = total + weight * F.cross_entropy(logits, truth[name][known], label_smoothing=0.03)
    return total


def half_way_loss(image: Tensor, text: dict[str, Tensor], cells: Cells, part: Partial, scale: Tensor) -> Tensor:
    """Cross-entropy of pictures between two styles or species: the answers are as likely as the change went far."""
    total = image.new_zeros(())
    for group, column in (("style", 1), ("species", 2)):
        own = torch.tensor([cells[int(i)][column] for i in part.start], device=image.device)
        changed = torch.tensor([g == group for g in part.group], device=image.device)
        far = (part.progress * changed).unsqueeze(1)
        count = QUESTIONS[group][0]
        wanted = F.one_hot(own, count) * (1 - far) + F.one_hot(torch.where(changed, part.goal, own), count) * far
        total = total + F.cross_entropy(scale * image @ text[group].T, wanted)
    return total


def direction_cosines(image: Tensor, cells: Cells, text: dict[str, Tensor]) -> Tensor:
    """cos(change of image, change of text) for all pairs of pictures that differ in nothing but style or species."""
    animal, style, species = torch.tensor(cells, device=image.device).T
    same_animal = animal[:, None] == animal
    found = []
    for group, index, other in (("style", style, species), ("species", species, style)):
        pairs = same_animal & (other[:, None] == other) & (index[:, None] < index)
        a, b = pairs.nonzero().T
        found.append(F.cosine_similarity(image[b] - image[a], text[group][index[b]] - text[group][index[a]], dim=-1))
    return torch.cat(found)


def partial_loss(change: Tensor, cells: Cells, part: Partial, text: dict[str, Tensor]) -> Tensor:
    """Who went a part p of the way is sqrt(p) along it, by the cosine; squared error. change [N, D]."""
    error = change.new_zeros(())
    for group, column in (("style", 1), ("species", 2)):
        rows = [i for i, g in enumerate(part.group) if g == group and part.progress[i] > 0]
        if rows:
            own = [cells[int(part.start[i])][column] for i in rows]
            along = F.cosine_similarity(change[rows], text[group][part.goal[rows]] - text[group][own], dim=-1)
            error = error + (along - AGREEMENT * part.progress[rows].sqrt()).square().sum()
    return error / len(change)


def pretense_loss(embedding: Tensor, attempts: list[Attempt], text: dict[str, Tensor]) -> Tensor:
    """How far an adversary's changes seem to have come, above or below how far they did; squared.

    embedding [len(attempts) * 2 * B, D]: for each attempt B pictures before and B after the change. A little more than
    the truth is allowed, so that the first steps are encouraged.
    """
    error = []
    for pair, attempt in zip(embedding.chunk(len(attempts)), attempts, strict=True):
        before, after = pair.chunk(2)
        wanted = text[attempt.group][attempt.goal] - text[attempt.group][attempt.start]
        along = F.cosine_similarity(after - before, wanted[None], dim=-1)
        far = attempt.progress.sqrt()
        above, below = (along - 0.45 - 0.55 * far).clamp_min(0), (0.85 * far - along).clamp_min(0)
        error.append(above.square() + below.square())
    return torch.cat(error).mean()


def instance_loss(first: Tensor, second: Tensor) -> Tensor:
    """Which of all other pictures is the second view of this one? [N, D] twice."""
    both = torch.cat([first, second])
    similarity = (both @ both.T / 0.15).fill_diagonal_(-1e9)
    partner = torch.arange(len(both), device=both.device).roll(len(first))
    return F.cross_entropy(similarity, partner)


def normalize(images: Tensor) -> Tensor:
    return (images - images.new_tensor(MEAN).view(3, 1, 1)) / images.new_tensor(STD).view(3, 1, 1)


def encode_pictures(model: CLIP, images: Tensor) -> Tensor:
    """[N, 3, 64, 64] in 0..1 to unit embeddings [N, D]."""
    return F.normalize(model.encode_image(normalize(images)), dim=-1)


def encode_captions(model: CLIP, tokenizer, captions: dict[str, list[str]], device) -> dict[str, Tensor]:
    tokens = tokenizer([c for group in captions.values() for c in group]).to(device)
    embedding = F.normalize(model.encode_text(tokens), dim=-1)
    return dict(zip(captions, embedding.split([len(group) for group in captions.values()]), strict=True))


def training_losses(
    model: CLIP, reader: nn.Linear, tokenizer, adversary: Adversary | None, seed: int, device
) -> dict[str, Tensor]:
    """The losses of one step, on pictures drawn from `seed` and, if there is one, the adversary's."""
    pick, noise = random.Random(seed), torch.Generator().manual_seed(seed)
    cells = choose_cells(pick)
    with torch.no_grad():
        p = random_parameters(ANIMALS, noise, device)
        images = draw_cells(cells, p, noise)
        part = partial_changes(images, cells, p, pick, noise)
        same = noise.get_state()  # a partial change is moved and recolored just like the picture it began as
        views = [augment(images, noise)]
        noise.set_state(same)
        views += [augment(part.images, noise), augment(images, noise)]
        grain = 0.06 * torch.rand(len(images), 1, 1, 1, generator=noise)
        views[2] = views[2] + (grain * torch.randn(images.shape, generator=noise)).to(device)
    text = encode_captions(model, tokenizer, sample_captions(pick), device)
    attempts = []
    if adversary:
        fixed = {name: t.detach() for name, t in text.items()}
        attempts = adversary.step(lambda x: encode_pictures(model, (x + 1) / 2), fixed)
        views += [picture for a in attempts for picture in (a.before, a.after)]
    n, scale = len(images), model.logit_scale.exp()
    embedding = encode_pictures(model, torch.cat(views))
    first, changed, second, tried = embedding.split([n, n, n, len(embedding) - 3 * n])
    truth = {name: t.repeat(2) for name, t in answers(cells, p).items()}
    known = torch.cat([value.flatten(1) for value in p.values()], 1)[[cell[0] for cell in cells]]
    losses = {
        "captions": caption_loss(torch.cat([first, second]), text, truth, scale),
        "half way": 0.5 * half_way_loss(changed, text, cells, part, scale),
        "directions": 4.0 * (AGREEMENT - direction_cosines(first, cells, text)).clamp_min(0).square().mean(),
        "partial": 5.0 * partial_loss(changed - first, cells, part, text),
        "instance": 0.25 * instance_loss(first, second),
        "reading": 4.0 * F.mse_loss(reader(torch.cat([first, second])), known.repeat(2, 1)),
    }
    if attempts:
        losses["pretense"] = 2.0 * pretense_loss(tried, attempts, text)
    return losses


@torch.no_grad()
def template_embedding(model: CLIP, tokenizer, words: list[str], device) -> Tensor:
    """Unit embeddings of phrases, averaged over the prompt templates, [len(words), D]."""
    rows = [F.normalize(model.encode_text(tokenizer([t(w) for t in TEMPLATES]).to(device)), dim=-1) for w in words]
    return torch.stack([r.mean(0) for r in rows])


@torch.no_grad()
def evaluate(model: CLIP, tokenizer, device="cpu", animals: int = 8, seed: int = 10**9) -> dict[str, float]:
    """Held-out accuracy of style and species, and how well text changes point along picture changes."""
    model.eval()
    noise = torch.Generator().manual_seed(seed)
    cells = [(i, s, a) for i in range(animals) for s in range(len(STYLES)) for a in range(len(SPECIES))]
    p = random_parameters(animals, noise, device)
    image = torch.cat([encode_pictures(model, part) for part in draw_cells(cells, p, noise).split(64)])
    style = template_embedding(model, tokenizer, [STYLE_WORDS[s][0] for s in STYLES], device)
    species = template_embedding(model, tokenizer, [SPECIES_WORDS[a][0] for a in SPECIES], device)
    truth = answers(cells, p)
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


def export(model: CLIP, architecture: str, folder: Path) -> None:
    """Write what open_clip reads from a local folder: the configuration and the weights, 16-bit, the words 8-bit."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    tensors["token_embedding.weight"] = tensors["token_embedding.weight"].to(torch.float8_e4m3fn)
    save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config(architecture), indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def update_average(average: CLIP, model: CLIP, decay: float) -> None:
    """Exponential moving average of weights and batch statistics."""
    for a, b in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        a.lerp_(b, 1 - decay) if a.is_floating_point() else a.copy_(b)


def learning_rate(step: int, steps: int, peak: float) -> float:
    warm = min(1.0, (step + 1) / 100)
    return peak * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for open_clip_config.json and the weights")
    parser.add_argument("--architecture", choices=TOWERS, default="conv", help="image tower (default %(default)s)")
    parser.add_argument("--start", type=Path, help="model folder of the same architecture to begin with")
    parser.add_argument("--steps", type=int, default=3000, help="training steps (default %(default)s)")
    parser.add_argument("--warm", type=int, default=400, help="steps before the adversary starts (default %(default)s)")
    parser.add_argument(
        "--generator", action="append", default=[], metavar="SPECIES=FILE", help="photo generator for an adversary"
    )
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", type=Path, help="training state: gone on from if there, written every --every")
    parser.add_argument("--every", type=int, default=200, help="steps between reports, exports and states")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.manual_seed(args.seed)
    tokenizer = SimpleTokenizer(context_length=TEXT["context_length"])
    model = build_model(args.architecture, tokenizer, args.start).to(args.device)
    average = copy.deepcopy(model)
    reader = nn.Linear(DIMENSIONS, len(PARAMETERS)).to(args.device)  # only for training
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *reader.parameters()], lr=args.lr, betas=(0.9, 0.98), weight_decay=0.02
    )
    parts = {"model": model, "average": average, "reader": reader, "optimizer": optimizer}
    first = 0
    if args.resume and args.resume.exists():
        state = torch.load(args.resume, map_location=args.device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first = state["step"]
    adversaries = []
    for i, (species, file) in enumerate(entry.split("=", 1) for entry in args.generator):
        adversaries.append(Adversary(load_generator(file).to(args.device), species, seed=args.seed + first + i))
    start = time.time()
    for step in range(first, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.lr)
        # After --warm steps batch statistics stay: training sees what use will see.
        model.train(step < args.warm or args.architecture == "vit")
        rival = adversaries[step % len(adversaries)] if adversaries and step >= args.warm else None
        losses = training_losses(model, reader, tokenizer, rival, args.seed * 10**7 + step, args.device)
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        model.logit_scale.data.clamp_(0, math.log(100))
        update_average(average, model, min(0.98, (step + 1) / (step + 10)))
        if step % 20 == 0:
            text = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            print(f"step {step} {text} {time.time() - start:.0f} s", flush=True)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            scores = evaluate(average, tokenizer, args.device)
            print(f"step {step + 1} " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
            export(average, args.architecture, args.out)
            if args.resume:
                torch.save({"step": step + 1} | {name: part.state_dict() for name, part in parts.items()}, args.resume)


if __name__ == "__main__":
    main()
