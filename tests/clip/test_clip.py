"""CLIP models from open_clip: preprocessing, directions, specifications and refusals."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from nada.clip.directions import text_direction, text_embedding
from nada.clip.loading import ClipSpec, load_clip
from nada.clip.models import ClipModel
from nada.clip.prompts import imagenet_templates
from nada.errors import NadaError, UsageError
from nada.losses import unit
from nada.pictures.convert import to_uint8


@pytest.fixture(autouse=True)
def few_prompts():
    """All prompts of the method."""


def test_preprocessing_equals_open_clips_own(clip, clip_folder):
    """A picture has the same embedding after our differentiable preprocessing and after open_clip's with PIL."""
    import open_clip

    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    image = torch.stack([x, y, torch.sin(9 * x * y)])[None] * 0.9
    picture = Image.fromarray(to_uint8(image)[0].numpy())
    (model,) = clip
    expected = model.model.encode_image(preprocess(picture)[None])
    ours = model.encode_image(image)
    assert torch.nn.functional.cosine_similarity(ours, expected).item() > 0.9999


def test_gradients_reach_the_image(clip):
    image = torch.zeros(1, 3, 50, 50, requires_grad=True)
    next(iter(clip)).encode_image(image).sum().backward()
    assert image.grad.abs().min() >= 0
    assert (image.grad != 0).float().mean() > 0.9


def test_the_text_tower_waits_on_the_cpu(clip, monkeypatch):
    (model,) = clip
    places = []
    monkeypatch.setattr(model.model.transformer, "to", lambda device, dtype: places.append(device))
    model.encode_text(["a photo"])
    assert places == [model.mean.device, "cpu"]


@pytest.mark.parametrize("published", [torch.float16, torch.float32])
def test_the_text_tower_waits_in_half_precision_only_if_that_loses_nothing(clip, published):
    (given,) = clip
    tower = given.model.transformer
    for part in (part for name, part in given.model.named_children() if name != "visual"):
        for p in part.float().parameters():
            p.copy_(torch.randn_like(p).to(published))
    model = ClipModel("as published", 1.0, given.model, given.tokenize)
    first = model.encode_text(["a photo"])
    assert all(p.dtype == published for p in tower.parameters())
    weights = {name: p.float() for name, p in tower.named_parameters()}
    assert torch.equal(model.encode_text(["a photo"]), first)
    assert all(torch.equal(p.float(), weights[name]) for name, p in tower.named_parameters())
    assert first.dtype == torch.float32


def test_direction_is_the_mean_of_normalized_differences(clip):
    """Embeddings are normalized for each prompt, subtracted and averaged, and only then normalized again."""
    (model,) = clip
    differences, phrases = [], ("photo", "sketch")
    texts = ([template.format(phrase) for template in imagenet_templates()] for phrase in phrases)
    for a, b in zip(*(model.encode_text(several).double().numpy() for several in texts), strict=True):
        differences.append(b / np.linalg.norm(b) - a / np.linalg.norm(a))
    expected = np.mean(differences, axis=0)
    expected /= np.linalg.norm(expected)
    assert np.abs(text_direction(model, "photo", "sketch").numpy() - expected).max() < 1e-5


def test_a_text_of_several_phrases_is_their_weighted_mean(clip):
    (model,) = clip
    templates = ("a {}", "the {}")
    sketch, fox = (text_embedding(model, phrase, templates) for phrase in ("sketch", "fox: red"))
    assert torch.equal(sketch, unit(model.encode_text(["sketch"], templates)).mean(0))
    blended = text_embedding(model, "sketch:3 | fox: red:1", templates)
    assert torch.allclose(blended, 0.75 * sketch + 0.25 * fox, atol=1e-6)


def test_templates_are_the_papers():
    templates = imagenet_templates()
    assert len(templates) == len(set(templates)) == 79
    assert "a photo of many {}." not in templates
    assert all(t.count("{}") == 1 for t in templates)


def test_ensemble_has_weights_and_leaves_out_zeros(clip_folder):
    ensemble = load_clip(f"{clip_folder}:0.25, {clip_folder} ,{clip_folder}:0")
    assert [m.weight for m in ensemble] == [0.25, 1.0]
    assert not any(p.requires_grad for p in ensemble.parameters())


def test_a_folder_with_a_comma_in_its_name(clip_folder, tmp_path):
    folder = tmp_path / "ViT-B-32, mine"
    shutil.copytree(clip_folder, folder)
    (model,) = load_clip(str(folder))
    assert model.name == folder.name


@pytest.mark.slow
def test_architecture_with_a_weights_file(clip_folder, tmp_path):
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(3)
    model = open_clip.create_model("RN50", pretrained=None)
    save_file(model.state_dict(), tmp_path / "rn50.safetensors")
    (loaded,) = load_clip(f"RN50@{tmp_path / 'rn50.safetensors'}:2")
    assert loaded.weight == 2
    assert any(isinstance(m, open_clip.transformer.QuickGELU) for m in loaded.model.modules()), "as all published RN50"
    assert loaded.size == (224, 224)
    assert torch.equal(loaded.model.visual.conv1.weight, model.visual.conv1.weight)


@pytest.mark.parametrize("form", ["{0}", "{0}/", "{1}", ".", "RN50@{0}/weights.pt", "RN50@weights.pt"])
def test_names_hold_no_folder(tmp_path, monkeypatch, form):
    folder = tmp_path / "my clip"
    folder.mkdir()
    (folder / "weights.pt").touch()
    monkeypatch.chdir(folder)
    (spec,) = ClipSpec.parse(form.format(folder, folder / ".." / folder.name))
    assert spec.name == ("RN50@weights.pt" if "@" in form else "my clip")


def test_the_fingerprint_follows_the_weights_and_not_their_place(clip_folder, tmp_path):
    (first,) = load_clip(str(clip_folder))
    copied = shutil.copytree(clip_folder, tmp_path / "elsewhere")
    (second,) = ensemble = load_clip(f"{copied}:0.5")
    assert second.fingerprint == first.fingerprint
    assert ensemble.describe() == [{"name": "elsewhere", "weight": 0.5, "fingerprint": first.fingerprint}]
    assert str(tmp_path) not in str(ensemble.describe())


def _first_number(model):
    next(model.model.visual.parameters()).view(-1)[0] += 1


def _activation(model):
    import open_clip

    model.model.visual.act = open_clip.model.QuickGELU()


@pytest.mark.parametrize(
    "change",
    [
        _first_number,
        lambda model: model.model.ln_final.bias[-1:].add_(1),
        lambda model: model.mean.add_(0.1),
        _activation,
    ],
)
def test_the_fingerprint_distinguishes_models_with_different_results(clip_folder, change):
    (one,), (other,) = load_clip(str(clip_folder)), load_clip(str(clip_folder))
    with torch.no_grad():
        change(other)
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("published", [torch.float16, torch.float32])
def test_the_fingerprint_does_not_see_how_the_text_tower_waits(clip_folder, published):
    (given,) = load_clip(str(clip_folder))
    for p in given.model.parameters():
        p.copy_(p.to(published))
    model = ClipModel("halved", 1.0, given.model.float(), given.tokenize)
    assert model.model.transformer.resblocks[0].ln_1.weight.dtype == published
    waiting = model.fingerprint
    model = ClipModel("halved", 1.0, given.model.float(), given.tokenize)
    model.model.float()
    assert model.fingerprint == waiting


def test_windows_paths_are_not_taken_for_weights():
    assert ClipSpec.parse(r"C:\models\clip") == [ClipSpec(r"C:\models\clip")]
    assert ClipSpec.parse(r"C:\models\clip:0.5,ViT-B/32:1e-1") == [
        ClipSpec(r"C:\models\clip", 0.5),
        ClipSpec("ViT-B/32", 0.1),
    ]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "empty entry"),
        ("demo,,demo", "empty entry"),
        ("demo:0", "weight 0"),
        ("demo:-1", "must be 0 or more"),
        ("demo:1-1", "not a number"),
        ("ViT-B/33", "no CLIP architecture 'ViT-B/33'"),
        ("ViT-B/32@nowhere", "no weights called 'nowhere'.*ViT-B-32-quickgelu@openai"),
        ("ViT-H-14", "ViT-H-14@laion2b"),
    ],
)
def test_wrong_specifications_say_what_exists(spec, words):
    with pytest.raises(UsageError, match=words):
        load_clip(spec)


def test_broken_folders_are_explained(clip_folder, tmp_path):
    with pytest.raises(UsageError, match=r"open_clip_config\.json"):
        load_clip(str(tmp_path))
    shutil.copy(clip_folder / "open_clip_config.json", tmp_path)
    with pytest.raises(NadaError, match="cannot be read"):
        load_clip(str(tmp_path))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(NadaError, match="cannot be read"):
        load_clip(str(tmp_path))


def test_texts_must_say_something_and_fit(clip):
    (model,) = clip
    with pytest.raises(UsageError, match="empty"):
        model.encode_text([" "])
    with pytest.raises(UsageError, match=r"42 tokens long; .* reads 40"):
        model.encode_text(["cat " * 40])
    assert model.encode_text(["cat " * 38]).shape == (1, 24)


def test_errors_quote_the_users_text_and_not_the_prompt(clip):
    (model,) = clip
    with pytest.raises(UsageError, match=r"the text 'dog dog .* is 42 tokens long with the longest prompt around it; "):
        model.encode_text(["cat", "dog " * 37], ["{}", "a photo of {}"])
    with pytest.raises(UsageError, match="text is empty"):
        text_direction(model, "photo", "")
    with pytest.raises(UsageError, match=r"^the text 'dog dog"):
        text_direction(model, "photo", "dog " * 37)


def test_every_prompt_of_a_text_comes_before_the_next_text(clip):
    (model,) = clip
    rows = model.encode_text(["cat", "dog"], ["{}", "a {}", "the {}"])
    assert torch.allclose(rows, model.encode_text(["cat", "a cat", "the cat", "dog", "a dog", "the dog"]), atol=1e-6)


@pytest.mark.parametrize("missing", [ImportError("No module named 'open_clip'"), RuntimeError("torchvision::nms")])
def test_an_installation_that_does_not_fit_is_a_sentence(monkeypatch, missing):
    class Refuse:
        def find_spec(self, name, *rest):
            if name == "open_clip":
                raise missing

    monkeypatch.delitem(sys.modules, "open_clip", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuse(), *sys.meta_path])
    with pytest.raises(NadaError, match=r"cannot be imported .*reinstall torch and torchvision"):
        load_clip("demo")


@pytest.mark.parametrize(
    ("version", "fits"), [("2.30.0", False), ("2.32.0", False), ("3.0.0", True), ("10.1.dev0", True)]
)
def test_an_old_open_clip_is_a_sentence(clip_folder, monkeypatch, version, fits):
    import open_clip

    monkeypatch.setattr(open_clip, "__version__", version)
    if fits:
        load_clip(str(clip_folder))
        return
    with pytest.raises(NadaError, match=rf"open_clip_torch {version} is installed, and 3.0 or later .* --upgrade"):
        load_clip(str(clip_folder))
