"""The distances that projection and tuning minimize: pixels at many scales, features of CLIP models, and LPIPS."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nada.clip.features import feature_distance, image_features
from nada.clip.loading import load_clip
from nada.errors import CheckpointError, UsageError
from nada.lpips import network as lpips
from nada.photo import loop
from nada.photo.distance import PhotoDistance, pyramid_distance
from nada.photo.project import ProjectConfig, project
from nada.photo.tune import tune


def test_the_pyramid_is_the_formula():
    a, b = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    levels = [(a - b).abs().mean((1, 2, 3))]
    for factor in (2, 4):
        levels.append((F.avg_pool2d(a, factor) - F.avg_pool2d(b, factor)).abs().mean((1, 2, 3)))
    assert torch.allclose(pyramid_distance(a, b), sum(levels) / 3, atol=1e-6)
    large = torch.rand(1, 3, 1024, 512)
    assert torch.allclose(
        pyramid_distance(large, large * 0),
        pyramid_distance(F.avg_pool2d(large, 4), torch.zeros(1, 3, 256, 128)),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ["tiny transformer", "demo-vit", "demo-conv"])
def test_features_know_their_place(clip_folder, name):
    """A change in one corner of the picture changes the features there most."""
    (model,) = load_clip(str(clip_folder) if name.startswith("tiny") else name)
    images = torch.rand(1, 3, *model.size) - 0.5
    changed = images.clone()
    changed[..., : model.size[0] // 4, : model.size[1] // 4] = 0.9
    before, after = image_features(model, images), image_features(model, changed)
    for features in before:
        assert torch.allclose(features.norm(dim=-1), torch.ones(features.shape[:2]), atol=1e-4)
    moves = (before[0] - after[0]).norm(dim=-1)[0]
    side = round(len(moves) ** 0.5)
    assert side**2 == len(moves)
    moves = moves.view(side, side)
    assert moves[0, 0] > 1.5 * moves[side // 2 :, side // 2 :].mean()
    assert feature_distance(before, before) == 0


def test_features_of_an_unknown_tower_are_its_embedding(clip):
    (model,) = clip
    visual = model.model.visual
    blocks = visual.transformer.resblocks
    visual.transformer.resblocks = torch.nn.ModuleList()
    visual.transformer.forward = lambda x, **_: x
    try:
        (features,) = image_features(model, torch.zeros(2, 3, 32, 32))
    finally:
        visual.transformer.resblocks = blocks
        del visual.transformer.forward
    assert features.shape[:2] == (2, 1)


def test_gradients_reach_the_images_and_hooks_go(clip):
    (model,) = clip
    images = (torch.rand(1, 3, 32, 32) - 0.5).requires_grad_(True)
    distance = PhotoDistance(torch.zeros(1, 3, 32, 32), {"pyramid": 0.0, "clip": 1.0}, clip)
    found = distance(images)
    assert set(found) == {"clip"}
    distance.weighted(found).sum().backward()
    assert images.grad.abs().sum() > 0
    assert not any(block._forward_hooks for block in model.model.visual.transformer.resblocks)


@pytest.fixture
def random_lpips(tmp_path, monkeypatch) -> dict[str, dict[str, torch.Tensor]]:
    """Random weights in place of torchvision's backbone and of the heads of the package lpips."""
    file, layers = lpips.BACKBONES["alex"]
    features, heads = {}, {}
    for layer in layers:
        if isinstance(layer, lpips.Conv):
            shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
            features[f"features.{layer.number}.weight"] = torch.randn(shape) * 0.05
            features[f"features.{layer.number}.bias"] = torch.randn(layer.outputs) * 0.1
        elif layer == lpips.TAP:
            heads[f"lin{len(heads)}.model.1.weight"] = torch.rand(1, shape[0], 1, 1)
    (tmp_path / "checkpoints").mkdir()
    torch.save(features, tmp_path / "checkpoints" / file)
    folder = tmp_path / "site" / "lpips"
    (folder / "weights" / "v0.1").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('its code must not run')")
    torch.save(heads, folder / "weights" / "v0.1" / "alex.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return {"features": features, "heads": heads}


def test_lpips_is_the_formula_and_runs_no_code_of_the_package(random_lpips):
    torchvision = pytest.importorskip("torchvision")
    network = lpips.find_lpips()
    a, b = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 64, 64) * 2 - 1
    backbone = torchvision.models.alexnet(weights=None).features.eval()
    backbone.load_state_dict({name.removeprefix("features."): t for name, t in random_lpips["features"].items()})
    expected = torch.zeros(2)
    shift, scale = (torch.tensor(v)[:, None, None] for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    x, y, tap = (a - shift) / scale, (b - shift) / scale, 0
    for number, layer in enumerate(backbone):
        x, y = layer(x), layer(y)
        if number in (1, 4, 7, 9, 11):
            head = random_lpips["heads"][f"lin{tap}.model.1.weight"].view(-1, 1, 1)
            difference = F.normalize(x, dim=1) - F.normalize(y, dim=1)
            expected += (difference.square() * head).sum(1).mean((1, 2))
            tap += 1
    assert torch.allclose(network.distance(network.layers(a), network.layers(b)), expected, rtol=1e-3)


def test_vgg_has_torchvisions_layers():
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):  # half a gigabyte otherwise
        theirs = torchvision.models.vgg16(weights=None).features
    ours = [layer for layer in lpips.BACKBONES["vgg"][1] if isinstance(layer, lpips.Conv)]
    convolutions = {number: layer for number, layer in enumerate(theirs) if isinstance(layer, torch.nn.Conv2d)}
    assert [(conv.number, conv.inputs, conv.outputs) for conv in ours] == [
        (number, conv.in_channels, conv.out_channels) for number, conv in convolutions.items()
    ]


def test_lpips_counts_where_it_is_at_hand(random_lpips, small):
    step = next(project(small, torch.zeros(1, 3, 32, 32), ProjectConfig()))
    assert step.losses["lpips"] > 0
    assert "lpips" not in next(project(small, torch.zeros(1, 3, 32, 32), ProjectConfig(lpips_weight=0.0))).losses


def tuned(base, photos):
    return tune(base, torch.zeros(1, base.num_ws, base.config.w_dim), photos)


class Named(torch.nn.Module):
    """Stands in for a network of LPIPS with a backbone of this name."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def layers(self, images):
        return [images]

    def distance(self, first, second):
        return (first[0] - second[0]).square().mean((1, 2, 3))


@pytest.mark.parametrize("make", [project, tuned])
def test_results_of_another_network_of_lpips_are_not_taken_for_the_same(tiny, monkeypatch, make):
    photos, found = torch.zeros(1, 3, 8, 8), {}
    for name in ("vgg", "alex", None):
        monkeypatch.setattr(loop, "find_lpips", lambda name=name: name and Named(name))
        found[name] = make(tiny, photos)
    assert len({run.key for run in found.values()}) == 3
    with pytest.raises(UsageError, match="lpips"):
        found["alex"].restore(loop.PhotoState(found["vgg"].recipe(), {}))
    unused = [project(tiny, photos, ProjectConfig(lpips_weight=0.0)).key]
    monkeypatch.setattr(loop, "find_lpips", lambda: Named("vgg"))
    assert [project(tiny, photos, ProjectConfig(lpips_weight=0.0)).key] == unused


def test_lpips_asked_for_and_missing_says_what_to_do(small, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UsageError, match="pip install lpips"):
        project(small, torch.zeros(1, 3, 32, 32), ProjectConfig(lpips_weight=1.0))


def test_damaged_weights_are_named(random_lpips, tmp_path):
    del random_lpips["features"]["features.0.bias"]
    with pytest.raises(CheckpointError, match=r"features\.0\.bias is missing"):
        lpips.Lpips("alex", random_lpips["features"], random_lpips["heads"])


@pytest.mark.parametrize("name", lpips.BACKBONES)
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (16, 16), (32, 16), (32, 32)])
def test_images_smaller_than_the_backbone_takes_are_enlarged(name, size):
    features, heads, width = {}, {}, 0
    for layer in lpips.BACKBONES[name][1]:
        if isinstance(layer, lpips.Conv):
            shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
            features |= {f"features.{layer.number}.weight": torch.zeros(shape)}
            features |= {f"features.{layer.number}.bias": torch.zeros(layer.outputs)}
            width = layer.outputs
        elif layer == lpips.TAP:
            heads[f"lin{len(heads)}.model.1.weight"] = torch.zeros(1, width, 1, 1)
    found = lpips.Lpips(name, features, heads).layers(torch.zeros(1, 3, *size))
    assert len(found) == len(heads)
    assert all(min(layer.shape[-2:]) >= 1 for layer in found)
