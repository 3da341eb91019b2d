"""Train the demo CLIPs on an album of the drawn world; no generator takes part.

    python tools/demo_world/train_clip.py --album album --out models --state clip.pt --architecture conv

The models are open_clip's CLIP with a small image tower (a ModifiedResNet or a vision transformer) and a small text
transformer. Each step shows individuals in two pictures that differ in style or species, and a third one part of the
way between the two. What is learned (clip_losses.py):

* a table of meanings, a vector for each style, species and answer to a question about attributes; which of them each
  picture and each caption (captions.py) has;
* that the change from one picture to the other goes along the change of the meanings, and pictures part of the way
  only in part, so that a hint of the target is not taken for the target;
* who it is, and how the picture is disturbed, in dimensions that words have no part in (individual_code.py);
* that words which mean nothing in this world change nothing (words.py).

Random networks, colors, noise and moves disturb the pictures throughout (attacks.py). In the transformer's last phase
every picture is first moved against the model's gradient, within a ball, so that its gradients become such as people
can see. For the convolutions this costs more accuracy than it gives.
"""

from __future__ import annotations

import argparse
import copy
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
from torch import Tensor, nn

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from album import Pages, read_pages
from captions import HELD_OUT, QUESTIONS, SPECIES_WORDS, STYLE_WORDS, answer_captions
from checkpoints import Every, read_state, write_state
from clip_lessons import SHOWN, ask, prepare
from clip_losses import Meanings, attack, caption_loss, captions_of, picture_losses
from clip_model import RESERVED, TEXT, Reader, build_model, encode_pictures, export, resized, template_embedding
from rows import batches
from words import nonsense, used_tokens

from nada.demo.world import SPECIES

RATES = {"conv": 2e-3, "vit": 8e-4}  # peak learning rates


@dataclass(frozen=True)
class Phase:
    """A part of the training."""

    size: int  # pixels
    steps: int
    rate: float  # peak learning rate as a share of the architecture's
    attack_steps: int = 0  # gradient steps of attacks, 0 for none


CLEAN = (Phase(64, 3000, 1.0), Phase(128, 800, 0.5))
PHASES = {"conv": CLEAN, "vit": (*CLEAN, Phase(128, 600, 0.5, attack_steps=3))}
RADIUS = 3.0  # largest change by an attack at 128 px: root of the summed squares, pixels in 0..1


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


class Student:
    """A CLIP and its table of meanings in training, with their optimizer and the CLIP's moving average."""

    def __init__(self, architecture: str, size: int, used: Tensor):
        self.architecture, self.size = architecture, size
        self.model, self.meanings = build_model(architecture, size, used), Meanings()
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        trained = [*self.model.parameters(), *self.meanings.parameters()]
        self.optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.98), weight_decay=0.02)

    def parts(self) -> dict:
        """The modules and the optimizer that a training state holds, by name."""
        names = ("model", "meanings", "average", "optimizer")
        return {name: getattr(self, name) for name in names}

    def grown(self, size: int, used: Tensor) -> Student:
        """The same student for larger pictures, with a fresh optimizer."""
        larger = Student(self.architecture, size, used)
        into = larger.model.state_dict()
        larger.model.load_state_dict(resized(self.average.state_dict(), into))
        larger.average.load_state_dict(larger.model.state_dict())
        larger.meanings.load_state_dict(self.meanings.state_dict())
        return larger

    def step(self, losses: dict[str, Tensor], number: int) -> dict[str, float]:
        """Learn from the losses of a step of a phase; `number` steps of it were before."""
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.model.visual.parameters(), 2.0)
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
    phases = PHASES[args.architecture]
    student = Student(args.architecture, phases[number].size, used)
    if state:
        for name, part in student.parts().items():
            part.load_state_dict(state[name])
    print(f"{sum(v.numel() for v in student.model.visual.parameters()):,} parameters in the image tower", flush=True)
    begun, checkpoint = time.time(), Every(args.minutes)
    while number < len(phases):
        phase = phases[number]
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
            captions = captions_of(lesson, pick) | {"nonsense": [nonsense(reader.fillers, pick) for _ in range(6)]}
            # batch statistics stay while pictures are attacked: training sees what use will see
            student.model.train(not phase.attack_steps)
            text = reader.read(student.model, captions, pick)
            pictures = lesson.pictures
            if phase.attack_steps:
                radius = RADIUS * phase.size / 128 * min(1.0, 0.2 + step / (0.3 * steps))
                pictures = attack(student.model, lesson, student.meanings, phase.attack_steps, radius, rng)
            losses = picture_losses(student.model, lesson, pictures, student.meanings, text["nonsense"])
            losses["captions"] = caption_loss(student.meanings, lesson, text)
            values = student.step(losses, step)
            if step % 50 == 0:
                report = " ".join(f"{name} {value:.3f}" for name, value in values.items())
                print(f"phase {number} step {step} {report} {time.time() - begun:.0f} s", flush=True)
            if checkpoint.due() or step + 1 == steps:
                scores = evaluate(student.average, reader, held_out, phase.size)
                report = ", ".join(f"{k} {v:.3f}" for k, v in scores.items())
                print(f"phase {number} step {step + 1}: {report}", flush=True)
                folder = args.out / f"clip_{args.architecture}"
                export(student.average, args.architecture, phase.size, folder)
                if args.state is not None:
                    parts = {name: part.state_dict() for name, part in student.parts().items()}
                    write_state({"phase": number, "step": step + 1, **parts}, args.state)
        number, done = number + 1, 0


if __name__ == "__main__":
    main()
