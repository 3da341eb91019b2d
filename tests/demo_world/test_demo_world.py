"""What the demo CLIPs are trained on: views of an individual, and the part of an embedding that is of it alone."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.scripts import importable

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "demo_world"


@pytest.fixture(scope="module", autouse=True)
def tools():
    """The scripts import each other by their bare names; other tests load `world.py` under another."""
    with importable(FOLDER):
        yield


@pytest.fixture
def animals():
    from world import random_parameters

    parameters = random_parameters(24, torch.Generator().manual_seed(7))
    return parameters | {"patch": torch.zeros_like(parameters["patch"])}  # on one side only, and not in the code


def flat(parameters):
    return {name: value.flatten() for name, value in parameters.items()}


def test_a_moved_drawing_is_a_drawing_in_its_apparent_pose(animals):
    from augment import random_moves
    from identity import SIDED, apparent_pose
    from world import draw

    moves = random_moves(24, torch.Generator().manual_seed(3), "cpu", unmoved=0.0)
    side = torch.linalg.det(moves[:, :, :2]).sign().view(-1, 1, 1)
    assert set(side.flatten().tolist()) == {-1.0, 1.0}
    posed = dict(zip(("x", "y", "size", "tilt"), apparent_pose(flat(animals), moves), strict=True))
    apparent = animals | {name: value.view(-1, 1, 1) + 0.5 for name, value in posed.items()}
    apparent |= {name: 0.5 + side * (animals[name] - 0.5) for name in SIDED}
    plain, wanted = (draw(p, "dog", "pixar", torch.Generator().manual_seed(1), 0) for p in (animals, apparent))
    grid = F.affine_grid(moves, list(plain.shape), align_corners=False)
    shown = F.grid_sample(plain, grid, padding_mode="reflection", align_corners=False)
    middle = (..., slice(16, 48), slice(16, 48))  # what lies behind moves too, and bodies are cut off

    def difference(a, b):
        return (a - b)[middle].abs().mean((1, 2, 3))

    assert (difference(shown, wanted) < 0.4 * difference(plain, wanted)).all()


def test_the_code_tells_individuals_apart_at_every_view(animals):
    from identity import DIMENSIONS, LOOKS, POSE, identity_code

    one_view = torch.eye(2, 3).expand(24, 2, 3)
    code = identity_code(animals, one_view)
    assert code.shape == (24, DIMENSIONS)
    apart = torch.cdist(code, code)[~torch.eye(24, dtype=torch.bool)]
    assert apart.min() > 0.5 * LOOKS["coat"]
    changed = animals | {"muzzle": 1 - animals["muzzle"]}  # nobody can read it
    torch.testing.assert_close(identity_code(changed, one_view), code)
    turned = identity_code(animals | {"tilt": animals["tilt"] + 0.5}, one_view)
    assert (turned - code).norm(dim=1).min() > 0.5 * POSE


@pytest.mark.slow
def test_an_album_shows_each_animal_as_its_caption_and_its_code_say():
    from identity import identity_code
    from individuals import SHOWN, Album
    from world import SPECIES, STYLES, draw

    noise = torch.Generator().manual_seed(2)
    page = Album(SHOWN, noise).page(noise, "cpu")
    assert len(page.pictures) == len(page.cells) == 2 * SHOWN
    nearest = []
    for i, (animal, style, species) in enumerate(page.cells):
        first = page.cells[animal]
        assert first[0] == animal
        assert i < SHOWN or (first[1] != style) != (first[2] != species)  # changed in one of them
        everyone = draw(page.parameters, SPECIES[species], STYLES[style], torch.Generator().manual_seed(4))
        nearest.append(int((everyone - page.pictures[i]).abs().mean((1, 2, 3)).argmin()) == animal)
    assert sum(nearest) > 0.8 * len(nearest)  # not all: paper and pencil differ from drawing to drawing
    shown, code = page.moved(noise, reach=0.0)
    assert shown.shape == page.pictures.shape
    upright = torch.eye(2, 3)
    mirrored = upright * torch.tensor([[-1.0], [1.0]])
    views = [identity_code(page.parameters, view.expand(SHOWN, 2, 3)).repeat(2, 1) for view in (upright, mirrored)]
    off = torch.stack([(code - view).abs().amax(1) for view in views])
    assert off.amin(0).max() < 1e-5  # each as it is or in the mirror
    assert (off.amin(1) < 1e-5).all()  # and some of both
    far = page.moved(noise)[1]
    assert ((far - views[0]).abs().amax(1) > 0.05).float().mean() > 0.6


def test_every_script_takes_what_the_recipe_tells_it(tmp_path, monkeypatch):
    from make import STAGES

    for stage in STAGES:
        told = stage.options.format(out=tmp_path, work=tmp_path).split()
        told += ["--steps", str(stage.steps), "--resume", str(tmp_path / "state.pt"), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", [stage.script, *told])
        args = importlib.import_module(Path(stage.script).stem).parse()
        assert (args.steps, args.device) == (stage.steps, "cpu")


def test_without_the_identity_loss_strangers_are_as_good_a_goal():
    from clip_losses import AGREEMENT, direction_cosines, identity_loss
    from identity import DIMENSIONS

    random = torch.Generator().manual_seed(0)
    cells = [(i, s, 0) for i in range(6) for s in range(3)]
    text = {"style": torch.eye(3, 24), "species": torch.eye(2, 24)}
    code = (0.2 * torch.randn(6, DIMENSIONS, generator=random)).repeat_interleave(3, 0)

    def trained(weight):
        """Cosines of changes to the same animal and to others; at first all animals of a style look nearly alike."""
        seeded = torch.Generator().manual_seed(1)
        free = torch.randn(3, 24, generator=seeded).repeat(6, 1) + 0.05 * torch.randn(18, 24, generator=seeded)
        free.requires_grad_(True)
        optimizer = torch.optim.Adam([free], lr=0.05)
        for _ in range(150):
            image = F.normalize(free, dim=-1)
            loss = (AGREEMENT - direction_cosines(image, cells, text)).clamp_min(0).square().mean()
            optimizer.zero_grad()
            (loss + weight * identity_loss(image, code)).backward()
            optimizer.step()
        image = F.normalize(free.detach(), dim=-1)
        style = torch.tensor([cell[1] for cell in cells])
        first, second = image[style == 0], image[style == 1]
        cosine = F.cosine_similarity(second[None] - first[:, None], text["style"][1] - text["style"][0], dim=-1)
        other = ~torch.eye(6, dtype=torch.bool)
        return cosine.diagonal().mean().item(), cosine[other].mean().item()

    same, stranger = trained(1.0)
    assert same > 0.9
    assert stranger < same - 0.15
    same, stranger = trained(0.0)
    assert stranger > same - 0.15
