"""Measuring generators, in the library and on the command line."""

from __future__ import annotations

import copy
import json
import weakref

import pytest
import torch
from helpers.models import moved

import nada
from nada.cli import main
from nada.demo.world import draw, parameters_from_latents
from nada.errors import NadaError, UsageError
from nada.latents.rendering import generate
from nada.latents.sampling import sample_latents
from nada.losses import unit
from nada.measure import evaluate as measured
from nada.measure.demo_judge import Judge, load_judge
from nada.measure.evaluate import EvaluateConfig, Samples, clip_measures, evaluate, plain_latents, sample_codes
from nada.measure.judging import judge_measures

DESCRIPTION = {
    "styles": ["photo", "sketch"],
    "species": ["dog", "cat"],
    "parameters": ["x", "coat"],
    "words": {"sketch": ["style", "sketch"], "cat": ["species", "cat"]},
    "readable": {"photo dog": [0.9, 0.9], "sketch dog": [0.9, 0.1]},
}


class Oracle(Judge):
    """Reads its answers out of the picture: red is the style, green the species, blue the first parameter."""

    def forward(self, images):
        red, green, blue = images.mean((2, 3)).T
        none = torch.full_like(red, -2.0)
        return (
            torch.stack([-red, red, none + 4 * (red.abs() < 0.1)], 1),
            torch.stack([-green, green, none], 1),
            torch.stack([blue, blue], 1),
        )


def pictures(red, green, blue):
    return torch.stack([torch.as_tensor(c, dtype=torch.float).expand(len(blue)) for c in (red, green, blue)], 1)[
        :, :, None, None
    ].expand(-1, -1, 64, 64)


def measures(judge, target, before, after, latents=None):
    left_out = {}
    return judge_measures(judge, target, Samples(before, after, latents), left_out), left_out


def test_the_judge_counts_targets_and_compares_what_can_be_read():
    blue = torch.linspace(-1, 1, 20)
    after = pictures(torch.tensor([1.0] * 15 + [-1.0] * 5), -1, blue / 2)
    found, left_out = measures(Oracle(DESCRIPTION), " Sketch", pictures(-1, -1, blue), after)
    assert found["target rate"] == 0.75
    assert found["rest kept"] == 1
    assert found["parameters correlation"] == pytest.approx(1, abs=1e-5)
    assert found["parameters spread kept"] == pytest.approx(0.5, abs=1e-5)
    assert found["found again by the judge"] == 1
    assert set(left_out) == {"distance to the truth"}


def test_pictures_of_nothing_known_count_as_missed():
    blue = torch.linspace(-1, 1, 20)
    after = pictures(torch.tensor([1.0] * 15 + [0.0] * 5), -1, blue)
    found, _ = measures(Oracle(DESCRIPTION), "sketch", pictures(-1, -1, blue), after)
    assert found["target rate"] == 0.75
    assert found["found again by the judge"] == 1


def test_what_true_drawings_seem_to_vary_less_in_is_not_held_against_a_generator():
    blue = torch.linspace(-1, 1, 20)
    judge = Oracle(DESCRIPTION | {"spreads": {"photo dog": [0.3, 0.3], "sketch dog": [0.2, 0.3]}})
    found, _ = measures(judge, "sketch", pictures(-1, -1, blue), pictures(1, -1, blue / 2))
    assert found["parameters spread kept"] == pytest.approx(0.75, abs=1e-5)
    assert found["parameters correlation"] == pytest.approx(1, abs=1e-5)


def test_the_judge_says_which_words_it_knows():
    found, left_out = measures(Oracle(DESCRIPTION), "zebra", pictures(0, 0, torch.zeros(2)), None)
    assert found == {}
    assert "cat, sketch" in left_out["target rate"]


def test_pictures_are_compared_with_the_true_drawings_of_their_latents():
    """The true drawings are at 0, the untouched pictures at 1, and checks of the style are passed by the first only."""
    z = torch.randn(4, 40, generator=torch.Generator().manual_seed(3))
    photo, neon = (
        draw(parameters_from_latents(z), "dog", style, torch.Generator().manual_seed(seed)) * 2 - 1
        for style, seed in (("photo", 0), ("neon", 0))
    )

    class Told(Judge):
        def read(self, images, batch=64):
            reading = super().read(images)
            reading.styles[:] = torch.eye(3)[0 if torch.equal(images, photo) else 1]
            reading.species[:] = torch.eye(3)[0]
            return reading

    ranges = {"neon": {"darkness": [0.0, 0.25], "edge sharpness": [0.0, 1.0]}}
    words = {"neon sign": ["style", "neon"]}
    judge = Told(DESCRIPTION | {"styles": ["photo", "neon"], "ranges": ranges, "words": words}).eval()
    true, _ = measures(judge, "neon sign", photo, neon, z)
    assert true["distance to the truth"] == pytest.approx(0, abs=1e-6)
    assert true["checks passed"] == 1
    none, left_out = measures(judge, "neon sign", photo, photo, z)
    assert none["distance to the truth"] == pytest.approx(1)
    assert none["checks passed"] < 1
    assert not left_out


def test_only_plain_codes_have_known_latents(small):
    config = EvaluateConfig("x", count=3)
    z = plain_latents(small, config, 7)
    assert torch.equal(small.mapping(z), sample_codes(small, config, 7))
    assert plain_latents(small, EvaluateConfig("x", count=3, psi=0.7), 7) is None
    assert plain_latents(small, EvaluateConfig("x", count=3, mixing=0.5), 7) is None


def test_a_generator_compared_with_itself(small, clip):
    result = evaluate(small, clip, EvaluateConfig("sketch", count=6, seeds=2), base=copy.deepcopy(small))
    measures = result["measures"]
    assert measures["source found again"]["mean"] == 1
    assert measures["cosine with source"]["mean"] == pytest.approx(1, abs=1e-5)
    assert measures["quality"] == measures["quality of the base"]
    assert measures["diversity"]["low"] < measures["diversity"]["mean"] < measures["diversity"]["high"]
    assert result["setting"]["psi"] == 1.0
    assert json.loads(json.dumps(result)) == result


def test_several_targets_are_measured_by_their_shares(small, clip):
    quality = lambda target: evaluate(small, clip, EvaluateConfig(target, count=4, seeds=1))["measures"]["quality"]
    assert quality("sketch:1 | sketch:3")["mean"] == pytest.approx(quality("sketch")["mean"], abs=1e-6)
    with pytest.raises(UsageError, match="not of the form"):
        EvaluateConfig("sketch | ")


def test_a_trained_mapping_network_counts(small, clip):
    adapted = copy.deepcopy(small)
    with torch.no_grad():
        adapted.mapping.fc0.weight.mul_(-1)
    measures = evaluate(adapted, clip, EvaluateConfig("sketch", count=6, seeds=1), base=small)["measures"]
    assert measures["cosine with source"]["mean"] < 1 - 1e-5


def test_without_a_base_the_comparison_is_left_out(small, clip):
    result = evaluate(small, clip, EvaluateConfig("sketch", count=4, seeds=1))
    assert set(result["measures"]) == {"quality", "diversity"}
    assert "comparison with the source" in result["left_out"]


def test_half_of_the_codes_are_mixtures(small):
    plain = sample_latents(small, 200, 7, 1.0)
    codes = sample_codes(small, EvaluateConfig("x", count=200, mixing=0.5), 7)
    assert torch.equal(codes[:, 0], plain[:, 0])
    assert 0.35 < (codes != plain).flatten(1).any(1).float().mean() < 0.65


@pytest.mark.parametrize(
    ("values", "word"),
    [({"count": 1}, "count"), ({"seeds": 0}, "seeds"), ({"target": " "}, "target"), ({"templates": "x"}, "template")],
)
def test_what_cannot_be_measured_is_refused(values, word):
    with pytest.raises(UsageError, match=word):
        EvaluateConfig(**{"target": "sketch", **values})


@pytest.mark.parametrize("having", [[0], [1, 2], [0, 2], [0, 1, 2], []])
def test_a_measure_of_some_repetitions_only_is_left_out_with_the_reason(tiny, clip, having):
    repetition = iter(range(3))

    def extra(*images_and_reasons):
        return {"pose": 0.5} if next(repetition) in having else {}

    result = evaluate(tiny, clip, EvaluateConfig("sketch", count=2, seeds=3), tiny, extra)
    assert "quality" in result["measures"]
    assert ("pose" in result["measures"]) == (len(having) == 3)
    assert ("pose" in result["left_out"]) == (len(having) in (1, 2))
    if len(having) in (1, 2):
        assert f"{len(having)} of 3" in result["left_out"]["pose"]


def test_the_command_fills_in_what_the_adaptation_recorded(small, clip_folder, tmp_path, capsys):
    nada.save_generator(small, tmp_path / "base.safetensors")
    small.metadata["adaptations"] = [{"source": "photo", "target": "sketch", "base": small.fingerprint()}]
    nada.save_generator(small, tmp_path / "new.safetensors")
    command = ["evaluate", "--generator", str(tmp_path / "new.safetensors"), "--clip", str(clip_folder)]
    size = ["--count", "4", "--seeds", "2", "--device", "cpu"]
    assert main([*command, *size, "--base", str(tmp_path / "base.safetensors"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["setting"]["target"], result["setting"]["source"]) == ("sketch", "photo")
    assert result["measures"]["source found again"]["mean"] == 1
    assert main([*command, *size]) == 0
    table = capsys.readouterr().out
    assert "diversity" in table
    assert "lpips" in table


def test_the_command_asks_for_a_target(small, tmp_path, capsys):
    nada.save_generator(small, tmp_path / "base.safetensors")
    assert main(["evaluate", "--generator", str(tmp_path / "base.safetensors")]) == 2
    assert "--target" in capsys.readouterr().err


def test_a_file_that_is_no_judge_is_refused(small, tmp_path):
    nada.save_generator(small, tmp_path / "generator.safetensors")
    with pytest.raises(NadaError, match="judge"):
        load_judge(tmp_path / "generator.safetensors")


def test_measures_are_those_of_all_images_at_once_but_few_are_in_memory(small, clip, monkeypatch):
    made, alive = [], []

    def noted(*given, **options):
        images = generate(*given, **options)
        alive.append(weakref.ref(images))
        made.append(sum(len(image) for reference in alive if (image := reference()) is not None))
        return images

    monkeypatch.setattr(measured, "generate", noted)
    monkeypatch.setattr(measured, "LPIPS_IMAGES", 2)
    adapted, config = moved(small), EvaluateConfig("sketch", count=20, seeds=2, batch=4)
    found = evaluate(adapted, clip, config, small, identity=clip)["measures"]
    assert max(made) <= 4 + 2 * 4, "one batch, and those of which the first images are kept"
    (model,) = clip
    text = unit(model.encode_text(["sketch"])).mean(0)
    by_hand = []
    for seed in (config.first_seed, config.first_seed + 20):
        images = [generate(generator, sample_codes(generator, config, seed)) for generator in (small, adapted)]
        by_hand.append(clip_measures(model, text, *images))
    for name in by_hand[0]:
        assert found[name]["mean"] == pytest.approx(sum(row[name] for row in by_hand) / 2, abs=1e-5), name
    near = found[f"identity kept, by {model.name}"]["mean"]
    assert near == pytest.approx(found["cosine with source"]["mean"], abs=1e-6)
