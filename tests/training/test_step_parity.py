"""A whole step - random draws, layer selection, losses, gradients - compared with a float64 computation by hand."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from nada.adapt import adapt
from nada.clip.loading import load_clip
from nada.seeding import seeded
from nada.training.config import AdaptConfig

BATCH, SELECT_BATCH = 3, 4
CODE_OF = {"b4.conv1": 0, "b8.conv0": 1, "b8.conv1": 2, "b16.conv0": 3, "b16.conv1": 4, "b32.conv0": 5, "b32.conv1": 6}
TEMPLATES = ("a picture of a {}.", "the {} in my room", "{}")
LOSSES = ("directional", "global", "norm", "angle", "patch")


@pytest.fixture
def ensemble(clip_folder):
    """Two models with weights, so that their sum matters."""
    return load_clip(f"{clip_folder}:1,{clip_folder}:0.5")


def config(**changes) -> AdaptConfig:
    defaults = {"layers": "all", "batch": BATCH, "select_batch": SELECT_BATCH, "learning_rate": 0.01, "iterations": 2}
    defaults["templates"] = "|".join(TEMPLATES)
    return AdaptConfig(**{"source": "photo", "target": "sketch", "seed": 11, "views": 0} | defaults | changes)


class Step:
    """The second step of a run by hand, after the draws of its first step, in which both generators are equal and there
    is no direction of change to compare."""

    def __init__(self, run, settings):
        self.settings, self.models = settings, [(copy.deepcopy(model).double(), model.weight) for model in run.clip]
        self.frozen, self.trained = copy.deepcopy(run.frozen).double(), copy.deepcopy(run.trained).double()
        self.random = seeded(settings.seed)
        self.pool = torch.randn(4 * 32 * 32, generator=self.random).tolist()

    def draws(self):
        """z of the images, z to mix with, the crossover, the noise of each layer, and the places of the crops."""
        z = torch.randn(2 * BATCH, self.frozen.config.z_dim, generator=self.random).double()
        mixes = torch.rand([], generator=self.random) < self.settings.mixing
        crossover = int(torch.randint(1, 8, [], generator=self.random)) if mixes else 8
        noise = self.noise(BATCH)
        crops = torch.rand(BATCH, 2, generator=self.random).tolist() if self.settings.patch_weight else None
        first, second = (self.frozen.mapping.w(part)[:, None].repeat(1, 8, 1) for part in (z[:BATCH], z[BATCH:]))
        return torch.cat([first[:, :crossover], second[:, crossover:]], dim=1), noise, crops

    def noise(self, batch):
        sizes = {name: 4 if name == "b4.conv1" else int(name[1:].split(".")[0]) for name in CODE_OF}
        return {name: self.cuts(batch, side) for name, side in sizes.items()}

    def cuts(self, batch, side):
        starts = torch.randint(4 * 32 * 32 - side * side + 1, (batch,), generator=self.random)
        rows = [[[self.pool[s + side * i + j] for j in range(side)] for i in range(side)] for s in starts.tolist()]
        return torch.tensor(rows, dtype=torch.float64)[:, None]

    def choose(self, k):
        """Names of the k convolutions whose codes the global loss changes most."""
        z = torch.randn(2 * SELECT_BATCH, self.frozen.config.z_dim, generator=self.random).double()
        torch.rand([], generator=self.random)
        ws = self.frozen.mapping.w(z[:SELECT_BATCH])[:, None].repeat(1, 8, 1).requires_grad_(True)
        images = self.trained.synthesis(ws, self.noise(SELECT_BATCH))
        loss = sum(weight * self.global_loss(model, self.embed(model, images)) for model, weight in self.models)
        moved = torch.autograd.grad(loss, ws)[0].abs().sum(dim=(0, 2))
        ranked = sorted(CODE_OF, key=lambda name: -moved[CODE_OF[name]])
        return tuple(name for name in CODE_OF if name in ranked[:k])

    @staticmethod
    def embed(model, images):
        if images.shape[-1] != 32:
            images = F.interpolate(images, (32, 32), mode="bicubic", antialias=True)
        return model.model.encode_image(((images + 1) / 2 - model.mean) / model.std)

    @staticmethod
    def text(model, words):
        return model.model.encode_text(model.tokenize([words]))[0]

    def global_loss(self, model, images):
        text = self.text(model, "sketch")
        return sum(1 - (x @ text) / (x @ x).sqrt() / (text @ text).sqrt() for x in images) / len(images)

    def directional(self, model, before, after):
        turn = 0
        for template in TEMPLATES:
            target, source = (self.text(model, template.replace("{}", word)) for word in ("sketch", "photo"))
            turn = turn + target / target.norm() - source / source.norm()
        cosines = [
            F.cosine_similarity(b / b.norm() - a / a.norm(), turn, dim=0) for a, b in zip(before, after, strict=True)
        ]
        return 1 - sum(cosines) / len(cosines)

    @staticmethod
    def angle(before, after):
        pairs = [(i, j) for i in range(len(before)) for j in range(i)]
        cosine = lambda x, i, j: F.cosine_similarity(x[i], x[j], dim=0)
        return sum((cosine(after, i, j) - cosine(before, i, j)) ** 2 for i, j in pairs) / len(pairs)

    def losses(self, ws, noise, crops):
        """{loss: value} for the current weights."""
        images = [generator.synthesis(ws, noise) for generator in (self.frozen, self.trained)]
        totals = dict.fromkeys(LOSSES, 0.0)
        for model, weight in self.models:
            before, after = (self.embed(model, x) for x in images)
            totals["directional"] += weight * self.directional(model, before, after)
            totals["global"] += weight * self.global_loss(model, after)
            tenth = sum(a.norm() for a in before) / BATCH / 10
            changes = [(b.norm() - a.norm()) / tenth for a, b in zip(before, after, strict=True)]
            totals["norm"] += weight * sum(change**2 for change in changes) / BATCH
            totals["angle"] += weight * self.angle(before, after)
            if crops:
                parts = [self.embed(model, self.cut(x, crops)) for x in images]
                totals["patch"] += weight * self.directional(model, *parts)
        return totals

    @staticmethod
    def cut(images, crops):
        corners = [(round(16 * y), round(16 * x)) for y, x in crops]
        return torch.stack([image[:, y : y + 16, x : x + 16] for image, (y, x) in zip(images, corners, strict=True)])


def weights(loss):
    """One loss at a time, with the directional one where the first step would otherwise have no gradient."""
    used = {"norm": {"directional": 1.0, "norm": 0.7}, "angle": {"directional": 1.0, "angle": 0.7}}.get(
        loss, {loss: 0.7}
    )
    return {f"{name}_weight": used.get(name, 0.0) for name in LOSSES}


@pytest.mark.parametrize(
    ("loss", "mixing"),
    [
        *(("directional", 0.0), ("patch", 0.0), ("angle", 1.0)),
        *(pytest.param(loss, 0.0, marks=pytest.mark.slow) for loss in ("global", "norm", "angle")),
        pytest.param("directional", 1.0, marks=pytest.mark.slow),
    ],
)
def test_losses_and_gradients_of_a_step(small, ensemble, loss, mixing, stepped):
    settings = config(**weights(loss), mixing=mixing)
    run = adapt(small, ensemble, settings)
    next(run)
    by_hand = Step(run, settings)
    by_hand.draws()
    by_hand.trained.requires_grad_(True)
    expected = by_hand.losses(*by_hand.draws())
    total = sum(weight * expected[name] for name, weight in settings.loss_weights.items())
    total.backward()
    step = next(run)
    assert set(step.losses) == set(settings.loss_weights)
    assert float(step.losses[loss]) == pytest.approx(expected[loss].item(), rel=2e-4, abs=2e-6)
    assert float(step.loss) == pytest.approx(total.item(), rel=1e-4)
    exact = dict(by_hand.trained.synthesis.named_parameters())
    largest = max(float(p.grad.abs().max()) for p in exact.values() if p.grad is not None)
    assert stepped.keys() == {name for name in exact if ".conv" in name}
    for name, gradient in stepped.items():
        assert torch.allclose(gradient.double(), exact[name].grad, rtol=1e-3, atol=1e-4 * largest), name
    assert all(parameter.grad is None for parameter in step.generator.parameters()), "they take memory"


@pytest.mark.parametrize("loss", ["patch", *(pytest.param(loss, marks=pytest.mark.slow) for loss in LOSSES[:-1])])
def test_gradients_equal_finite_differences(small, ensemble, loss):
    """Differentiates the computation by hand numerically, independently of automatic differentiation."""
    settings = config(**weights(loss))
    run = adapt(small, ensemble, settings)
    next(run)
    by_hand = Step(run, settings)
    by_hand.draws()
    inputs = by_hand.draws()
    weight = by_hand.trained.synthesis.b16.conv0.weight.requires_grad_(True)
    (gradient,) = torch.autograd.grad(by_hand.losses(*inputs)[loss], weight)
    direction, size = gradient / gradient.norm(), 1e-8  # small, since slopes change at the kinks of leaky ReLU
    values = []
    with torch.no_grad():
        for sign in (1, -2):  # to one side, then to the other
            weight += sign * size * direction
            values.append(float(by_hand.losses(*inputs)[loss]))
    slope = (values[0] - values[1]) / (2 * size)
    assert slope == pytest.approx(float(gradient.norm()), rel=1e-4)


@pytest.mark.parametrize("k", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_the_layers_chosen_are_those_whose_own_codes_move(small, ensemble, k):
    settings = config(layers=k)
    run = adapt(small, ensemble, settings)
    by_hand = Step(run, settings)
    first = by_hand.choose(k)
    step = next(run)
    assert step.layers == first
    by_hand.draws()
    by_hand.trained = copy.deepcopy(run.trained).double()
    assert next(run).layers == by_hand.choose(k)
