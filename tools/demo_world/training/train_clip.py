"""Train the demo CLIPs on an album of the drawn world; no generator takes part.

    python tools/demo_world/training/train_clip.py --album album --out models --state clip.pt --architecture conv

The models are open_clip's CLIP with a small image tower (a ModifiedResNet or a vision transformer) and a small text
transformer. Each step shows individuals in two pictures that differ in style or species, and a third one part of the
way between the two. What is learned:

* which caption fits: style, species, both, and one question about attributes after the other (captions.py);
* that the change from one picture to the other goes along the change of the words, and pictures part of the way only
  in part, so that a hint of the target is not taken for the target;
* who it is, and how the picture is disturbed, in dimensions that words have no part in (individual_code.py);
* that words which mean nothing in this world change nothing (words.py).

In the second phase every picture is first moved against the model's gradient, within a ball (attacks.py), so that its
gradients become such as people can see. Random networks, colors, noise and moves disturb the pictures throughout.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip import SimpleTokenizer
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(1, str(Path(__file__).resolve().parents[3]))

from album import Pages, batches, read_pages
from attacks import NUISANCES, attacked, disturbed, moved, random_moves, through_random_network
from captions import (
    HELD_OUT,
    QUESTIONS,
    SPECIES_WORDS,
    STYLE_WORDS,
    TEMPLATES,
    Question,
    answer_captions,
    joined_captions,
    species_captions,
    style_captions,
)
from checkpoints import Every, read_state, write_state
from individual_code import DIMENSIONS as OF_INDIVIDUAL
from individual_code import individual_code
from spoiled import borrowed, half_way, patchwork
from words import common_words, nonsense, used_tokens, with_filler

from nada.demo.world import SPECIES, STYLES, Parameters

MEAN, STD = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)
TEXT = {"context_length": 32, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 3}
DIMENSIONS = 160
RESERVED = OF_INDIVIDUAL + NUISANCES  # the last dimensions of an embedding, in which texts are zero
SHOWN = 16  # individuals per step
ASKED = 4  # questions about attributes per step
AGREEMENT = 0.93  # cosine wanted between a full change of the picture and that of the text
RATES = {"conv": 2e-3, "vit": 8e-4}  # peak learning rates


@dataclass(frozen=True)
class Phase:
    """A part of the training."""

    size: int  # pixels
    steps: int
    attack_steps: int  # gradient steps of attacks, 0 for none
    rate: float  # peak learning rate as a share of the architecture's


PHASES = (Phase(64, 5000, 0, 1.0), Phase(128, 2500, 3, 0.5))
RADIUS = 3.0  # of attacks at 128 px, root of the summed squares in 0..1


def tower(architecture: str, size: int) -> dict:
    """The image tower for pictures of `size` pixels; a transformer has 64 patches at each size."""
    if architecture == "conv":
        return {"image_size": size, "layers": [1, 2, 1, 1], "width": 20, "head_width": 32}
    return {
        "image_size": size, "layers": 3, "width": 144, "head_width": 36, "patch_size": size // 8, "pool_type": "avg",
    }  # fmt: skip


def build_model(architecture: str, size: int, used: Tensor) -> CLIP:
    """A fresh CLIP; embeddings of tokens that are never shown are zero."""
    model = CLIP(DIMENSIONS, tower(architecture, size), TEXT).to(memory_format=torch.channels_last)
    model.token_embedding.weight.data *= used[: TEXT["vocab_size"], None]
    model.text_projection.data[:, -RESERVED:] = 0
    return model


@torch.no_grad()
def resized(state: dict[str, Tensor], into: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors fitted to another picture size: place embeddings and patches are interpolated."""
    fitted = {}
    for name, tensor in state.items():
        wanted = into[name].shape
        if tensor.shape != wanted and name.endswith("positional_embedding"):
            first, rest = tensor[:1], tensor[1:]
            old, new = math.isqrt(len(rest)), math.isqrt(wanted[0] - 1)
            grid = rest.T.reshape(1, -1, old, old)
            grid = F.interpolate(grid, size=(new, new), mode="bilinear", align_corners=False)
            tensor = torch.cat([first, grid.flatten(2)[0].T])
        elif tensor.shape != wanted:  # weights of patches: the same sum over more pixels
            share = (tensor.shape[-1] / wanted[-1]) ** 2
            tensor = F.interpolate(tensor, size=tuple(wanted[-2:]), mode="bilinear", align_corners=False) * share
        fitted[name] = tensor
    return fitted


def encode_pictures(model: CLIP, images: Tensor) -> Tensor:
    """[N, 3, H, W] in 0..1 to unit embeddings [N, D]."""
    mean, std = (images.new_tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=not model.training):
        embedding = model.encode_image(images)
    return F.normalize(embedding.float(), dim=-1)


class Reader:
    """Turns captions into embeddings, with words that mean nothing here and there."""

    def __init__(self, tokenizer: SimpleTokenizer):
        self.tokenizer, self.fillers = tokenizer, common_words(tokenizer)

    def tokens(self, texts: list[str]) -> Tensor:
        """[N, context length]."""
        return self.tokenizer(texts, context_length=TEXT["context_length"])

    def read(self, model: CLIP, groups: dict[str, list[str]], pick: random.Random | None) -> dict[str, Tensor]:
        """Unit embeddings of named groups of captions; `pick` puts fillers into them."""
        texts = [text for group in groups.values() for text in group]
        if pick is not None:
            texts = [with_filler(text, self.fillers, pick) for text in texts]
        embedding = F.normalize(model.encode_text(self.tokens(texts)), dim=-1)
        return dict(zip(groups, embedding.split([len(group) for group in groups.values()]), strict=True))


@dataclass(frozen=True)
class Asked:
    """A question about pictures of one species, and the true answers [pictures], -1 for none."""

    question: Question
    species: str
    truth: Tensor


def ask(question: Question, species: str, pages: Pages) -> Asked:
    """The answers to a question for the pictures [N * 2] of pages, for those of `species` only."""
    a = SPECIES.index(species)
    truth = torch.full(pages.style.shape, -1)
    for s in pages.style.unique().tolist():
        answers = question.answer(pages.parameters, species, STYLES[s])
        chosen = (pages.style == s) & (pages.species == a)
        truth = torch.where(chosen, answers[:, None], truth)
    return Asked(question, species, truth.T.flatten())


@dataclass(frozen=True)
class Lesson:
    """What a step shows: pictures [3 * SHOWN] in the order first, second, part of the way, and what is known."""

    pictures: Tensor
    pages: Pages
    style: Tensor  # [2 * SHOWN]
    species: Tensor
    share: Tensor  # how far the third pictures are on the way, [SHOWN]
    codes: Tensor  # of individual and disturbance, [3 * SHOWN, RESERVED]
    asked: list[Asked]


def prepare(pages: Pages, size: int, reach: float, pick: random.Random, rng: torch.Generator) -> Lesson:
    """Pictures of individuals, moved and disturbed alike for each individual."""
    shrink = pages.pictures.shape[-1] // size
    first, second, creature = (
        F.avg_pool2d(x.float() / 255, shrink) if shrink > 1 else x.float() / 255
        for x in (pages.pictures[:, 0], pages.pictures[:, 1], pages.between)
    )
    makers = [maker(first, second, rng) for maker in (half_way, patchwork, borrowed)]
    kind = torch.randint(3, (len(first),), generator=rng)
    has_creature = pages.share > 0
    kind = torch.where(pages.species[:, 0] != pages.species[:, 1], kind.clamp_max(1), kind)
    third, share = makers[0][0].clone(), makers[0][1].clone()
    for number, (picture, amount) in enumerate(makers):
        third[kind == number], share[kind == number] = picture[kind == number], amount[kind == number]
    third[has_creature], share[has_creature] = creature[has_creature], pages.share[has_creature]
    moves = random_moves(len(first), rng, reach).repeat(3, 1, 1)
    pictures = moved(torch.cat([first, second, third]), moves)
    group = torch.arange(len(first)).repeat(3)
    if pick.random() < 0.4:
        pictures = through_random_network(pictures, rng)
    pictures, nuisance = disturbed(pictures, group, rng)
    everyone = Parameters(pages.parameters.values.repeat(3, 1))
    codes = torch.cat([nuisance, individual_code(everyone, moves)], 1)
    asked = [ask(q, pick.choice(SPECIES), pages) for q in pick.sample(QUESTIONS, ASKED)]
    style, species = pages.style.T.flatten(), pages.species.T.flatten()
    return Lesson(pictures, pages, style, species, share, codes, [a for a in asked if (a.truth >= 0).any()])


def changes(lesson: Lesson, text: dict[str, Tensor]) -> Tensor:
    """Difference of the texts from each individual's first picture to its second, [SHOWN, D]."""
    a, b = lesson.style.chunk(2)
    u, v = lesson.species.chunk(2)
    return torch.where((a != b)[:, None], text["style"][b] - text["style"][a], text["species"][v] - text["species"][u])


def training_losses(
    model: CLIP, lesson: Lesson, pictures: Tensor, text: dict[str, Tensor], no_news: Tensor
) -> dict[str, Tensor]:
    """The losses of one step; `pictures` are the lesson's or attacked ones, `no_news` embeddings of nonsense."""
    image = encode_pictures(model, pictures)
    pairs, third = image.split([2 * SHOWN, SHOWN])
    first, second = pairs.chunk(2)
    scale = model.logit_scale.exp()
    losses, caption = {}, image.new_zeros(())
    both = lesson.style * len(SPECIES) + lesson.species
    for name, truth, weight in (("style", lesson.style, 1.5), ("species", lesson.species, 1.5), ("both", both, 1.0)):
        if name in text:
            caption = caption + weight * F.cross_entropy(scale * pairs @ text[name].T, truth, label_smoothing=0.03)
    for asked in lesson.asked:
        known = asked.truth >= 0
        logits = scale * pairs[known] @ text[asked.question.name].T
        caption = caption + 2 * asked.question.weight * F.cross_entropy(
            logits, asked.truth[known], label_smoothing=0.03
        )
    losses["captions"] = caption
    wanted = changes(lesson, text)
    along = F.cosine_similarity(second - first, wanted, dim=-1)
    losses["directions"] = 4.0 * (AGREEMENT - along).clamp_min(0).square().mean()
    part = F.cosine_similarity(third - first, wanted, dim=-1)
    gone = (lesson.share > 0.02).float()
    losses["partial"] = 4.0 * (gone * (part - AGREEMENT * lesson.share.sqrt()).square()).mean()
    half = image.new_zeros(())
    for name, index in (("style", lesson.style), ("species", lesson.species)):
        a, b = index.chunk(2)
        chance = F.log_softmax(scale * third @ text[name].T, 1)
        own, other = (chance.gather(1, k[:, None])[:, 0] for k in (a, b))
        half = half - ((1 - lesson.share) * own + lesson.share * other).mean()
    losses["half way"] = 0.4 * half
    losses["individual"] = 6.0 * (image[:, -RESERVED:] - lesson.codes).square().sum() / lesson.codes.square().sum()
    losses["nonsense"] = 20.0 * (pairs @ no_news.T).var(0).mean()
    return losses


def attack(model: CLIP, lesson: Lesson, text: dict[str, Tensor], steps: int, radius: float, rng: torch.Generator):
    """The lesson's pictures, each moved toward the words of a style or species that it does not show."""
    fixed = {name: value.detach() for name, value in text.items()}
    ways = []
    for name, index in (("style", lesson.style), ("species", lesson.species)):
        count = len(fixed[name])
        wrong = (index + torch.randint(1, count, index.shape, generator=rng)) % count
        ways.append(F.normalize(fixed[name][wrong] - fixed[name][index], dim=-1))
    pairs = torch.where(torch.rand(len(lesson.style), 1, generator=rng) < 0.5, *ways)
    onward = F.normalize(changes(lesson, fixed), dim=-1)
    onward = onward * torch.where(torch.rand(SHOWN, 1, generator=rng) < 0.7, 1.0, -1.0)
    reach = radius * torch.rand(3 * SHOWN, 1, 1, 1, generator=rng).sqrt()
    training = model.training
    model.eval().requires_grad_(False)
    pictures = attacked(
        lambda x: encode_pictures(model, x), lesson.pictures, torch.cat([pairs, onward]), reach, steps, rng
    )
    model.train(training).requires_grad_(True)
    return pictures


@torch.no_grad()
def template_embedding(model: CLIP, reader: Reader, phrase: str) -> Tensor:
    """Unit embedding of a phrase, averaged over the prompt templates, [D]."""
    rows = F.normalize(model.encode_text(reader.tokens([t(phrase) for t in TEMPLATES])), dim=-1)
    return F.normalize(rows.mean(0), dim=-1)


@torch.no_grad()
def evaluate(model: CLIP, reader: Reader, pages: Pages, size: int) -> dict[str, float]:
    """Zero-shot accuracy on held-out pictures: styles, species, the same with held-out phrases, and attributes."""
    model.eval()
    flat = pages.pictures.transpose(0, 1).flatten(0, 1)
    shrink = flat.shape[-1] // size
    image = torch.cat([encode_pictures(model, F.avg_pool2d(x.float() / 255, shrink)) for x in flat.split(64)])
    style, species = pages.style.T.flatten(), pages.species.T.flatten()
    result = {}
    for name, truth, words in (("style", style, STYLE_WORDS), ("species", species, SPECIES_WORDS)):
        usual = torch.stack([template_embedding(model, reader, many[0]) for many in words.values()])
        new = torch.stack([template_embedding(model, reader, HELD_OUT[name][key]) for key in words])
        result[name] = ((image @ usual.T).argmax(1) == truth).float().mean().item()
        result[f"{name} in new words"] = ((image @ new.T).argmax(1) == truth).float().mean().item()
        a, b = truth.chunk(2)
        differ = a != b
        first, second = image.chunk(2)
        cosine = F.cosine_similarity((second - first)[differ], (usual[b] - usual[a])[differ], dim=-1)
        result[f"{name} direction"] = cosine.mean().item()
    pick, right, asked = random.Random(3), 0, 0
    for question in QUESTIONS:
        hits, count = 0, 0
        for a in SPECIES:
            truth = ask(question, a, pages).truth
            known = truth >= 0
            if known.any():
                text = reader.read(model, {"": answer_captions(question, a, pick)}, None)[""]
                hits += ((image[known] @ text.T).argmax(1) == truth[known]).sum().item()
                count += int(known.sum())
        result[f"{question.name}?"] = hits / max(1, count)
        right, asked = right + hits, asked + count
    result["attributes"] = right / asked
    return result


def export(model: CLIP, architecture: str, size: int, folder: Path, reader: Reader) -> None:
    """Write what open_clip reads from a local folder, weights 16-bit and words 8-bit, and the words that are read."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    tensors["token_embedding.weight"] = tensors["token_embedding.weight"].to(torch.float8_e4m3fn)
    config = {
        "model_cfg": {"embed_dim": DIMENSIONS, "vision_cfg": tower(architecture, size), "text_cfg": TEXT},
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    known = used_tokens(reader.tokenizer, TEXT["context_length"]).nonzero().flatten().tolist()
    texts = {"open_clip_config.json": json.dumps(config, indent=2), "known_tokens.json": json.dumps(known)}
    for name, text in texts.items():
        (folder / f"{name}.partial").write_text(text + "\n", encoding="utf-8")
        os.replace(folder / f"{name}.partial", folder / name)
    file = folder / "open_clip_model.safetensors"
    save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, file.with_suffix(".partial"))
    os.replace(file.with_suffix(".partial"), file)


class Student:
    """A CLIP in training, with its optimizer and its moving average, at the picture size of a phase."""

    def __init__(self, architecture: str, size: int, used: Tensor):
        self.architecture, self.size = architecture, size
        self.model = build_model(architecture, size, used)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), betas=(0.9, 0.98), weight_decay=0.02)

    def parts(self) -> dict:
        """What a training state consists of."""
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer}

    def grown(self, size: int, used: Tensor) -> Student:
        """The same student for larger pictures, with a fresh optimizer."""
        larger = Student(self.architecture, size, used)
        into = larger.model.state_dict()
        larger.model.load_state_dict(resized(self.average.state_dict(), into))
        larger.average.load_state_dict(larger.model.state_dict())
        return larger

    def step(self, losses: dict[str, Tensor], number: int) -> dict[str, float]:
        """Learn from the losses of a step of a phase; `number` steps of it were before."""
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimizer.step()
        self.model.logit_scale.data.clamp_(0, math.log(100))
        self.model.text_projection.data[:, -RESERVED:] = 0  # words are of kinds, not of individuals
        with torch.no_grad():
            decay = min(0.99, (number + 1) / (number + 10))
            for a, b in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                a.lerp_(b, 1 - decay) if a.is_floating_point() else a.copy_(b)
        return {name: value.item() for name, value in losses.items()}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--album", type=Path, required=True, help="folder of an album's shards")
    parser.add_argument("--out", type=Path, required=True, help="folder in which clip_ARCHITECTURE is written")
    parser.add_argument("--state", type=Path, help="training state to resume from if it exists, and to write")
    parser.add_argument("--architecture", choices=RATES, default="conv", help="default: %(default)s")
    parser.add_argument("--share", type=float, default=1.0, help="share of the usual steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=4.0, help="minutes between checkpoints (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Train through all phases, with a checkpoint every few minutes."""
    args = parse()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    reader = Reader(SimpleTokenizer(context_length=TEXT["context_length"]))
    used = used_tokens(reader.tokenizer, TEXT["context_length"])
    held_out, pages = read_pages(args.album, 1), read_pages(args.album, first=1)
    state = read_state(args.state)
    number, done = (state["phase"], state["step"]) if state else (0, 0)
    student = Student(args.architecture, PHASES[number].size, used)
    if state:
        for name, part in student.parts().items():
            part.load_state_dict(state[name])
    print(f"{sum(v.numel() for v in student.model.visual.parameters()):,} parameters in the image tower", flush=True)
    begun, checkpoint = time.time(), Every(args.minutes)
    while number < len(PHASES):
        phase = PHASES[number]
        steps = max(2, round(args.share * phase.steps))
        if student.size != phase.size:
            student = student.grown(phase.size, used)
        for step in range(done, steps):
            seed = args.seed * 10**8 + number * 10**7 + step
            pick, rng = random.Random(seed), torch.Generator().manual_seed(seed)
            warm = min(1.0, (step + 1) / 100)
            rate = RATES[args.architecture] * phase.rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
            student.optimizer.param_groups[0]["lr"] = rate
            reach = min(1.0, 2 * step / steps) if number == 0 else 1.0  # what is moved far is harder to place
            lesson = prepare(next(batches(pages, SHOWN, rng)), phase.size, reach, pick, rng)
            captions = {"style": style_captions(pick), "species": species_captions(pick)}
            if step % 2 == 0:
                captions["both"] = joined_captions(pick)
            captions |= {a.question.name: answer_captions(a.question, a.species, pick) for a in lesson.asked}
            captions["nonsense"] = [nonsense(reader.fillers, pick) for _ in range(6)]
            student.model.train(number == 0)  # in later phases batch statistics stay: training sees what use will see
            text = reader.read(student.model, captions, pick)
            pictures = lesson.pictures
            if phase.attack_steps:
                radius = RADIUS * phase.size / 128 * min(1.0, 0.2 + step / (0.3 * steps))
                pictures = attack(student.model, lesson, text, phase.attack_steps, radius, rng)
            losses = training_losses(student.model, lesson, pictures, text, text["nonsense"])
            values = student.step(losses, step)
            if step % 50 == 0:
                report = " ".join(f"{name} {value:.3f}" for name, value in values.items())
                print(f"phase {number} step {step} {report} {time.time() - begun:.0f} s", flush=True)
            if checkpoint.due() or step + 1 == steps:
                scores = evaluate(student.average, reader, held_out, phase.size)
                report = ", ".join(f"{k} {v:.3f}" for k, v in scores.items())
                print(f"phase {number} step {step + 1}: {report}", flush=True)
                folder = args.out / f"clip_{args.architecture}"
                export(student.average, args.architecture, phase.size, folder, reader)
                if args.state is not None:
                    parts = {name: part.state_dict() for name, part in student.parts().items()}
                    write_state({"phase": number, "step": step + 1, **parts}, args.state)
        number, done = number + 1, 0


if __name__ == "__main__":
    main()
