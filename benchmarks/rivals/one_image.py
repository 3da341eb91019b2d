"""Methods that learn from one image: JoJoGAN and DiFa."""

from __future__ import annotations

import copy
from collections import deque

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada.clip.embedding import mean_embedding
from nada.clip.features import style_features
from nada.clip.views import random_views
from nada.losses import directional_loss, style_loss, unit
from nada.seeding import seeded
from nada.training.goal import sample_images

from .own import Images, Task, TaskMethod, settings

KEPT = 7  # number of first codes, which hold pose and shape: JoJoGAN keeps them, and DiFa compares them
JOJO_RATE = 0.004  # the authors' 0.002 is for layers of 512 features
# DiFa: weight of the consistency, share of the dimensions compared, and share of a training that is remembered, after
# which the weight rises from 0. The authors' weight of 6 is for other codes; here half of the images miss the style.
CONSISTENCY, UNCHANGED, WINDOW = 0.3, 0.6, 1 / 6


def jojogan(task: Task) -> Images:
    """JoJoGAN (Chong and Forsyth, arXiv 2112.11641): map all codes close to that of the image to the image."""
    generator, random = copy.deepcopy(task.base).requires_grad_(True), seeded(task.seed)
    code = task.encoder(task.seen[:1]).detach()  # a code found by optimization would already show the style
    discriminator = task.discriminator.requires_grad_(False)
    wanted = discriminator.features(task.seen[:1])
    optimizer = torch.optim.Adam(generator.parameters(), lr=JOJO_RATE, betas=(0.0, 0.99))
    for _ in range(task.steps):
        with torch.no_grad():
            other = generator.mapping(torch.randn(1, generator.config.z_dim, generator=random))
        loss = feature_loss(discriminator.features(generator.synthesis(swapped(code, other))), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    trained = generator.requires_grad_(False)
    return lambda z: torch.cat([trained(part) for part in z.split(16)])


def swapped(code: Tensor, other: Tensor) -> Tensor:
    """Replace the fine part of a code, from 64 px, by that of another: [N, num_ws, w_dim]."""
    return torch.cat([code[:, :KEPT], other[:, KEPT:]], dim=1)


def feature_loss(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Mean absolute difference of discriminator features, averaged over the blocks."""
    terms = [F.l1_loss(a, b) for a, b in zip(found, wanted, strict=True)]
    return torch.stack(terms).mean()


def difa(task: Task) -> Images:
    """DiFa (Zhang et al., arXiv 2207.08736): direction and style of the image in CLIP, and consistent codes."""
    trained, random = copy.deepcopy(task.base), seeded(task.seed)
    config = settings(task, "", "")
    parameters = [p for name, p in trained.synthesis.named_parameters() if ".torgb." not in name]
    for p in parameters:
        p.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=config.effective_learning_rate(trained), betas=(0.0, 0.99**0.8))
    style, own = task.seen[:1], sample_images(task.base, task.seed)
    goals, places = [], []
    with torch.no_grad():
        for model in task.clip:
            embedding, features = style_features(model, style)
            goals.append(unit(unit(embedding)[0] - mean_embedding(model, own)))
            places.append(features)
    window = max(1, round(WINDOW * task.steps))
    consistency = Consistency(window)
    for step in range(task.steps):
        z = torch.randn(config.batch, task.base.config.z_dim, generator=random)
        noise = task.base.synthesis.sample_noise(len(z), random)
        show = random_views(config.views, len(z), random)
        with torch.no_grad():
            ws = task.base.mapping(z)
            before = task.base.synthesis(ws, noise)
        after = trained.synthesis(ws, noise)
        rise = max(0, step - window) / max(1, task.steps - window)
        loss = CONSISTENCY * rise * consistency(task.encoder(before), task.encoder(after))
        before, after = show(before), show(after)
        for model, goal, place in zip(task.clip, goals, places, strict=True):
            with torch.no_grad():
                source = model.encode_image(before)
            adapted, features = style_features(model, after)
            # The twins are equal at first, since they see the same noise: plain cosines would then have a gradient of
            # 1e6, which Adam remembers for as long as the training lasts.
            loss = loss + model.weight * (directional_loss(source, adapted, goal) + style_loss(features, place))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    trained.requires_grad_(False)
    return lambda z: torch.cat([trained(part) for part in z.split(16)])


class Consistency(nn.Module):
    """DiFa's selective cross-domain consistency: preserve the codes that differ least between the domains.

    The change of each number of the first seven codes is averaged over the last steps. The 60 % of the numbers that
    change least are compared; the others count as equal, as in the authors' code.

    Args:
        window: number of steps to average over.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.changes: deque[Tensor] = deque(maxlen=window)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Compute the loss [] from codes [N, num_ws, w_dim] of source images, and of adapted ones with gradients."""
        before, after = (codes[:, :KEPT].flatten(1) for codes in (before, after))
        self.changes.append((after - before).mean(dim=0).detach())
        change = torch.stack([*self.changes]).mean(dim=0).abs()
        chosen = torch.zeros_like(change)
        chosen[change.argsort()[: int(UNCHANGED * len(change))]] = 1
        return F.l1_loss(chosen * after, chosen * before)


METHODS = {
    method.name: method
    for method in (
        TaskMethod(
            "JoJoGAN",
            f"Chong and Forsyth, arXiv 2112.11641; the image's code by an encoder, a step size of {JOJO_RATE}; "
            "all blocks of the discriminator; the mapping network is kept.",
            (
                "test_jojogans_loss_is_the_mean_difference_of_features",
                "test_jojogan_keeps_the_coarse_codes_of_the_image",
            ),
            jojogan,
            sees=1,
            share=9.0,
            constants=(KEPT, JOJO_RATE),
        ),
        TaskMethod(
            "DiFa",
            "Zhang et al., arXiv 2207.08736, with the step size and views of NADA; a consistency weight of "
            f"{CONSISTENCY}; features from two thirds of CLIP's depth, which lead further here than earlier ones.",
            (
                "test_difas_consistency_compares_what_changes_least",
                "test_style_loss_is_the_relaxed_earth_movers_distance_of_all_pairs",
            ),
            difa,
            sees=1,
            constants=(KEPT, CONSISTENCY, UNCHANGED, WINDOW),
            version=2,
        ),
    )
}
