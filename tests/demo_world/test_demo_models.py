"""The shipped demo models: small, loadable, and good enough to steer an adaptation."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import nada
from nada.demo.world import NAMES, draw, parameters_from_latents

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "nada" / "demo"
SPECIES = ("dog", "cat", "pig", "bear", "rabbit", "fox", "person")
GENERATORS = [("demo", "dog"), pytest.param("demo-person", "person", marks=pytest.mark.slow)]
STYLE_NAMES = {
    "photo": "photo",
    "sketch": "sketch",
    "pixar": "3d render in the style of Pixar",
    "watercolor": "watercolor painting",
    "neon": "neon sign",
    "pixel": "pixel art",
    "marble": "marble statue",
    "ukiyoe": "ukiyo-e print",
    "chalk": "chalk drawing",
    "glass": "stained glass window",
}
KINDS = [(style, species) for style in STYLE_NAMES for species in SPECIES]
FEW_KINDS = [kind for kind in KINDS if "photo" in kind or "dog" in kind]  # each style, and each species
SPECIES_TOLD = {"demo-conv": 0.85, "demo-vit": 0.25}  # least accuracy among seven species; by chance 0.14
TEMPLATES = ("a photo of a {}.", "a rendering of the {}.", "a good photo of my {}.", "art of the {}.", "{}")


@pytest.fixture(scope="module", params=["demo-conv", pytest.param("demo-vit", marks=pytest.mark.slow)])
def clip(request):
    return next(iter(nada.load_clip(request.param)))


@pytest.fixture(scope="module")
def held_out(clip, drawn):
    """Function of style and species: embeddings [3, D] of individuals that no training used."""
    return cache(lambda style, species: embed_images(clip, drawn(style, species)))


def embed_text(clip, phrase):
    embeddings = F.normalize(clip.encode_text([t.format(phrase) for t in TEMPLATES]), dim=-1)
    return embeddings.mean(0)


def embed_images(clip, images):
    with torch.no_grad():
        return F.normalize(clip.encode_image(images), dim=-1)


def accuracy(clip, embedded, phrases, key):
    text = F.normalize(torch.stack([embed_text(clip, phrase) for phrase in phrases.values()]), dim=-1)
    names = list(phrases)
    hits = [(x @ text.T).argmax(1) == names.index(k[key]) for k, x in embedded.items()]
    return torch.cat(hits).float().mean().item()


def test_models_are_small():
    files = [f for f in FOLDER.rglob("*") if f.is_file()]
    assert {"dog_photo.safetensors", "person_photo.safetensors", "judge.safetensors"} <= {f.name for f in files}
    assert sum(f.stat().st_size for f in files) < 30e6


def test_demo_is_both_models_at_half_the_weight():
    described = nada.load_clip("demo:3").describe()
    assert [(d["name"], d["weight"]) for d in described] == [("demo-conv", 1.5), ("demo-vit", 1.5)]
    again = nada.load_clip(",".join(f"{model['name']}:{model['weight']}" for model in described))
    assert again.describe() == described


def test_length_of_a_latent_changes_nothing():
    z = torch.randn(3, len(NAMES) + 5, generator=torch.Generator().manual_seed(0))
    near, far = parameters_from_latents(z), parameters_from_latents(5 * z)
    torch.testing.assert_close(near.values, far.values, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "kinds", [pytest.param(FEW_KINDS, id="few"), pytest.param(KINDS, marks=pytest.mark.slow, id="all")]
)
def test_clip_tells_styles_and_species_apart(clip, held_out, kinds):
    embedded = {kind: held_out(*kind) for kind in kinds}
    assert accuracy(clip, embedded, STYLE_NAMES, 0) > 0.95
    assert accuracy(clip, embedded, {a: a for a in SPECIES}, 1) > SPECIES_TOLD[clip.name]


@pytest.mark.parametrize("style", [style for style in STYLE_NAMES if style != "photo"])
def test_text_direction_agrees_with_picture_direction(clip, held_out, style):
    change = held_out(style, "dog") - held_out("photo", "dog")
    text = embed_text(clip, STYLE_NAMES[style]) - embed_text(clip, "photo")
    assert F.cosine_similarity(change, text[None]).mean() > 0.5


@pytest.mark.parametrize("target", [("sketch", "dog"), ("watercolor", "dog"), ("photo", "fox"), ("photo", "rabbit")])
def test_the_words_do_not_lead_to_another_dog(clip, held_out, target):
    """If a CLIP sees all dogs as one, an adaptation may make all of them alike."""
    before, after = held_out("photo", "dog"), held_out(*target)
    style, species = target
    text = (
        embed_text(clip, STYLE_NAMES[style]) - embed_text(clip, "photo")
        if species == "dog"
        else embed_text(clip, species) - embed_text(clip, "dog")
    )
    cosine = F.cosine_similarity(after[None] - before[:, None], text, dim=-1)
    others = cosine[~torch.eye(len(before), dtype=torch.bool)]
    assert cosine.diagonal().mean() > others.mean() + 0.02


def test_unknown_words_are_ignored(clip):
    plain, odd = clip.encode_text(["a sketch", "a zyzzogeton sketch"])
    assert F.cosine_similarity(plain, odd, dim=0) > 0.7


@pytest.mark.parametrize(("name", "species"), GENERATORS)
def test_generator_makes_photos(clip, name, species):
    """Almost all of its images pass for photos of the species, and of different individuals."""
    generator = nada.load_generator(name)
    ws = nada.sample_latents(generator, 32, seed=1, truncation_psi=1.0)
    images = nada.generate(generator, ws)
    assert images.shape == (32, 3, 128, 128)
    embedded = {("photo", species): embed_images(clip, images)}
    assert accuracy(clip, embedded, STYLE_NAMES, 0) > 0.85
    assert accuracy(clip, embedded, {a: a for a in SPECIES}, 1) > SPECIES_TOLD[clip.name]
    assert images.std(0).mean() > 0.1


@pytest.mark.parametrize(("name", "species"), GENERATORS)
def test_generator_draws_the_face_that_the_latent_describes(name, species):
    """The demo world knows the photo for a latent; the generator's image is closer to it than to others."""
    generator = nada.load_generator(name)
    rng = torch.Generator().manual_seed(5)
    z = torch.randn(16, generator.config.z_dim, generator=rng)
    true = draw(parameters_from_latents(z), species, "photo", rng, grain=0.0) * 2 - 1
    with torch.no_grad():
        made = generator.synthesis(generator.mapping(z))
    own = (made - true).abs().mean()
    others = (made - true.roll(1, 0)).abs().mean()
    assert own < 0.5 * others
