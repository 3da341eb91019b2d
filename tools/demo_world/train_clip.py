"""Train the demo CLIPs on the demo world.

    python tools/demo_world/train_clip.py --out nada/demo --generator dog=nada/demo/dog_photo.safetensors

The models are open_clip's CLIP with a small image tower (a ModifiedResNet, or a vision transformer) and a small text
transformer over the usual vocabulary. Each step draws a few animals as some species in some styles and asks, through
freshly phrased captions, which style, species, coat and background each picture has. More things make its gradients
worth following:

* two random views of a picture must be closer to each other than to any other picture, and the animal's parameters
  have dimensions of their own (identity.py), so that a change that makes all animals alike is no pure change of style;
* the change of an embedding from one style (or species) to another must agree with that of the text's, and changes
  that go part of the way (partial.py) only in part;
* after --warm steps, an adversary (adversary.py) adapts generators with the models as they are, together, as an
  adaptation does; the models learn how far those have really come, and which way the truth lies from there.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from adversary import Adversary, Attempt, Retoucher
from augment import augment, moved, random_moves
from captions import BACKGROUND_WORDS, SPECIES_WORDS, STYLE_WORDS, TEMPLATES, sample_captions, vocabulary
from clip_losses import (
    AGREEMENT,
    Cells,
    adversary_loss,
    caption_loss,
    direction_cosines,
    half_way_loss,
    identity_loss,
    instance_loss,
    partial_loss,
)
from identity import DIMENSIONS as OF_IDENTITY
from identity import identity_code
from open_clip import SimpleTokenizer
from open_clip.model import CLIP
from partial import Partial, partial_changes
from safetensors.torch import load_file, save_file
from shapes import blur
from torch import Tensor, nn
from world import SPECIES, STYLES, draw, parameters_from_latents, random_parameters

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nada import load_generator

MEAN, STD = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)
TOWERS = {
    "conv": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 20, "head_width": 32},
    "vit": {"image_size": 64, "layers": 3, "width": 128, "head_width": 32, "patch_size": 8, "pool_type": "avg"},
}
TEXT = {"context_length": 32, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 3}
DIMENSIONS = 128
ANIMALS, SHOWN_STYLES, SHOWN_SPECIES = 3, 2, 2  # a step's pictures: every animal in some styles as some species


def config(architecture: str) -> dict:
    """The configuration that open_clip reads beside the weights."""
    return {
        "model_cfg": {"embed_dim": DIMENSIONS, "vision_cfg": TOWERS[architecture], "text_cfg": TEXT},
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }


def build_model(architecture: str, tokenizer: SimpleTokenizer, start: Path | None = None) -> CLIP:
    """A fresh CLIP, or one that starts from a model folder; embeddings of words that no caption uses stay zero."""
    model = CLIP(DIMENSIONS, TOWERS[architecture], TEXT)
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
    colorless = torch.tensor([s in ("sketch", "marble") for s in STYLES], device=device)[style]
    return {
        "style": style,
        "species": species,
        "both": style * len(SPECIES) + species,
        "coat": torch.where(colorless, -1, species * 5 + coat),
        "background": torch.where(colorless, -1, hue),
    }


def normalize(images: Tensor) -> Tensor:
    return (images - images.new_tensor(MEAN).view(3, 1, 1)) / images.new_tensor(STD).view(3, 1, 1)


def encode_pictures(model: CLIP, images: Tensor) -> Tensor:
    """[N, 3, 64, 64] in 0..1 to unit embeddings [N, D]."""
    images = normalize(images).contiguous(memory_format=torch.channels_last)  # a fifth faster on the CPU
    return F.normalize(model.encode_image(images), dim=-1)


def encode_captions(model: CLIP, tokenizer, captions: dict[str, list[str]], device) -> dict[str, Tensor]:
    tokens = tokenizer([c for group in captions.values() for c in group]).to(device)
    embedding = F.normalize(model.encode_text(tokens), dim=-1)
    return dict(zip(captions, embedding.split([len(group) for group in captions.values()]), strict=True))


@dataclass
class Lesson:
    """The pictures of one step, [N, 3, 64, 64] in 0..1, and what is known of them."""

    cells: Cells
    parameters: dict[str, Tensor]
    part: Partial
    views: list[Tensor]
    identities: Tensor
    captions: dict[str, list[str]]
    attempt: Attempt | None
    way: Tensor


class Student:
    """A CLIP in training, with its optimizer and its moving average."""

    def __init__(self, architecture: str, args: argparse.Namespace, tokenizer: SimpleTokenizer):
        self.architecture, self.tokenizer, self.device = architecture, tokenizer, args.device
        start = args.start / f"clip_{architecture}" if args.start else None
        self.model = build_model(architecture, tokenizer, start).to(args.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), betas=(0.9, 0.98), weight_decay=0.02)

    def parts(self) -> dict:
        names = ("model", "average", "optimizer")
        return {f"{self.architecture} {name}": getattr(self, name) for name in names}

    def see(self, images: Tensor) -> Tensor:
        """Unit embeddings [N, D] of images [N, 3, 64, 64] in 0..1."""
        return encode_pictures(self.model, images)

    def read(self, captions: dict[str, list[str]]) -> dict[str, Tensor]:
        return encode_captions(self.model, self.tokenizer, captions, self.device)

    def step(self, losses: dict[str, Tensor], number: int) -> dict[str, float]:
        """Learn from the losses of one step; `number` steps were before."""
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimizer.step()
        self.model.logit_scale.data.clamp_(0, math.log(100))
        self.model.text_projection.data[:, -OF_IDENTITY:] = 0  # words are of kinds, not of individuals
        update_average(self.average, self.model, min(0.98, (number + 1) / (number + 10)))
        return {name: value.item() for name, value in losses.items()}


def restore(students: Sequence[Student], path: Path | None, device) -> int:
    """Resume students from a training state, if there is one; return the number of steps they have had."""
    if not path or not path.exists():
        return 0
    state = torch.load(path, map_location=device, weights_only=True)
    for student in students:
        for name, part in student.parts().items():
            part.load_state_dict(state[name])
    return state["step"]


def store(students: Sequence[Student], path: Path, steps: int) -> None:
    """Write the training state of students after `steps` steps."""
    tensors = {name: part.state_dict() for student in students for name, part in student.parts().items()}
    torch.save({"step": steps} | tensors, path)


def prepare(
    students: list[Student], adversaries: Sequence[Adversary | Retoucher], seed: int, device
) -> tuple[Lesson, list[dict]]:
    """A lesson, drawn from `seed` and, if there are any, the adversaries'; and each student's embedded captions."""
    pick, noise = random.Random(seed), torch.Generator().manual_seed(seed)
    cells = choose_cells(pick)
    with torch.no_grad():
        p = random_parameters(ANIMALS, noise, device)
        images = draw_cells(cells, p, noise)
        part = partial_changes(images, cells, p, pick, noise)
        same = noise.get_state()  # a partial change is moved and recolored just like the picture it began as
        animal = [cell[0] for cell in cells]
        first, moves = augment(images, animal, noise)
        noise.set_state(same)
        changed, _ = augment(part.images, animal, noise)
        second, moves_again = augment(images, animal, noise)
        views = [first, changed, second]
        grain = 0.06 * torch.rand(len(images), 1, 1, 1, generator=noise)
        views[2] = views[2] + (grain * torch.randn(images.shape, generator=noise)).to(device)
        of_pictures = {name: value[animal] for name, value in p.items()}
        identities = torch.cat([identity_code(of_pictures, m) for m in (moves, moves_again)])
    captions = sample_captions(pick)
    texts = [student.read(captions) for student in students]
    attempt, way = None, torch.empty(0)
    if adversaries:
        fixed = [{name: t.detach() for name, t in text.items()} for text in texts]
        attempt = Attempt.joined([a.step([student.see for student in students], fixed) for a in adversaries])
        way = torch.rand(len(attempt.goals), generator=noise).to(device)
        groups, moves = shown(attempt, way, noise)
        views += groups
        of_attempts = identity_code(parameters_from_latents(attempt.z), moves)
        identities = torch.cat([identities, of_attempts, of_attempts])
    return Lesson(cells, p, part, views, identities, captions, attempt, way), texts


def shown(attempt: Attempt, way: Tensor, noise: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """The four groups of pictures of `adversary_loss`, all of them moved and softened alike, and the moves."""
    further = torch.lerp(attempt.after, attempt.wanted, way.view(-1, 1, 1, 1))
    groups = [attempt.before, attempt.after, further, attempt.wanted]
    count = len(way)
    moves = random_moves(count, noise, way.device, unmoved=0.5)
    amount = (torch.rand(count, 1, 1, 1, generator=noise) - 0.5).clamp_min(0).to(way)
    groups = [moved(group, moves) for group in groups]
    return [torch.lerp(x, blur(x, 3), 2 * amount) for x in groups], moves


def training_losses(model: CLIP, lesson: Lesson, text: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses of one step; text {question: [answers, D]}."""
    cells, part = lesson.cells, lesson.part
    n, scale = len(cells), model.logit_scale.exp()
    embedding = encode_pictures(model, torch.cat(lesson.views))
    first, changed, second, tried = embedding.split([n, n, n, len(embedding) - 3 * n])
    truth = {name: t.repeat(2) for name, t in answers(cells, lesson.parameters).items()}
    losses = {
        "captions": caption_loss(torch.cat([first, second]), text, truth, scale),
        "half way": 0.5 * half_way_loss(changed, text, cells, part, scale),
        "directions": 4.0 * (AGREEMENT - direction_cosines(first, cells, text)).clamp_min(0).square().mean(),
        "partial": 5.0 * partial_loss(changed - first, cells, part, text),
        "instance": 0.25 * instance_loss(first, second),
    }
    known = [first, second]
    if lesson.attempt:
        before, _, _, true = tried.chunk(4)
        known += [before, true]
        losses["adversary"] = 8.0 * adversary_loss(tried, lesson.attempt, lesson.way, text)
    losses["identity"] = 6.0 * identity_loss(torch.cat(known), lesson.identities)
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
    parser.add_argument("--out", type=Path, required=True, help="folder for clip_ARCHITECTURE, for open_clip")
    parser.add_argument("--architecture", choices=TOWERS, nargs="+", default=list(TOWERS), help="default: both")
    parser.add_argument("--start", type=Path, help="folder with clip_ARCHITECTURE to begin with")
    parser.add_argument("--steps", type=int, default=3000, help="training steps (default %(default)s)")
    parser.add_argument("--warm", type=int, default=400, help="steps before the adversary starts (default %(default)s)")
    parser.add_argument(
        "--generator",
        action="append",
        default=[],
        metavar="SPECIES=FILE",
        help="photos for an adversary; repeat",
    )
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", type=Path, help="training state to resume from if it exists; written every --every")
    parser.add_argument("--every", type=int, default=200, help="steps between reports, exports and states")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.manual_seed(args.seed)
    tokenizer = SimpleTokenizer(context_length=TEXT["context_length"])
    students = [Student(architecture, args, tokenizer) for architecture in args.architecture]
    first = restore(students, args.resume, args.device)
    rivals = []
    for i, (species, file) in enumerate(entry.split("=", 1) for entry in args.generator):
        generator, seed = load_generator(file).to(args.device), args.seed + first + i
        rivals.append((Adversary(generator, species, seed=seed), Retoucher(generator, species, seed=seed)))
    start = time.time()
    for step in range(first, args.steps):
        for student in students:
            student.optimizer.param_groups[0]["lr"] = learning_rate(step, args.steps, args.lr)
            # After --warm steps batch statistics stay: training sees what use will see.
            student.model.train(step < args.warm)
        against = rivals[step % len(rivals)] if rivals and step >= args.warm else ()
        lesson, texts = prepare(students, against, args.seed * 10**7 + step, args.device)
        for student, text in zip(students, texts, strict=True):
            losses = student.step(training_losses(student.model, lesson, text), step)
            if step % 20 == 0:
                report = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
                print(f"step {step} {student.architecture} {report} {time.time() - start:.0f} s", flush=True)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            for student in students:
                scores = evaluate(student.average, tokenizer, args.device)
                report = ", ".join(f"{k} {v:.3f}" for k, v in scores.items())
                print(f"step {step + 1} {student.architecture} {report}", flush=True)
                export(student.average, student.architecture, args.out / f"clip_{student.architecture}")
            if args.resume:
                store(students, args.resume, step + 1)


if __name__ == "__main__":
    main()
