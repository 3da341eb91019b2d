"""Measuring generators, in the library and on the command line."""

from __future__ import annotations

import copy
import json

import pytest
import torch

import nada
from nada.cli import main
from nada.errors import NadaError, UsageError
from nada.latents.sampling import sample_latents
from nada.measure.demo_judge import Judge, judge_measures, load_judge
from nada.measure.evaluate import EvaluateConfig, evaluate, sample_codes

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
        return torch.stack([-red, red], 1), torch.stack([-green, green], 1), torch.stack([blue, blue], 1)


def pictures(red, green, blue):
    return torch.stack([torch.as_tensor(c, dtype=torch.float).expand(len(blue)) for c in (red, green, blue)], 1)[
        :, :, None, None
    ].expand(-1, -1, 64, 64)


def test_the_judge_counts_targets_and_compares_what_can_be_read():
    blue = torch.linspace(-1, 1, 20)
    left_out = {}
    found = judge_measures(
        Oracle(DESCRIPTION),
        " Sketch",
        pictures(-1, -1, blue),
        pictures(torch.tensor([1.0] * 15 + [-1.0] * 5), -1, blue / 2),
        left_out,
    )
    assert found["target rate"] == 0.75
    assert found["rest kept"] == 1
    assert found["parameters correlation"] == pytest.approx(1, abs=1e-5)
    assert found["parameters spread kept"] == pytest.approx(0.5, abs=1e-5)
    assert not left_out


def test_what_true_drawings_seem_to_vary_less_in_is_not_held_against_a_generator():
    blue = torch.linspace(-1, 1, 20)
    judge = Oracle(DESCRIPTION | {"spreads": {"photo dog": [0.3, 0.3], "sketch dog": [0.2, 0.3]}})
    found = judge_measures(judge, "sketch", pictures(-1, -1, blue), pictures(1, -1, blue / 2), {})
    assert found["parameters spread kept"] == pytest.approx(0.75, abs=1e-5)
    assert found["parameters correlation"] == pytest.approx(1, abs=1e-5)


def test_the_judge_says_which_words_it_knows():
    left_out = {}
    assert judge_measures(Oracle(DESCRIPTION), "zebra", pictures(0, 0, torch.zeros(2)), None, left_out) == {}
    assert "cat, sketch" in left_out["target rate"]


def test_a_generator_compared_with_itself(small, clip):
    result = evaluate(small, clip, EvaluateConfig("sketch", count=6, seeds=2), base=copy.deepcopy(small))
    measures = result["measures"]
    assert measures["source found again"]["mean"] == 1
    assert measures["cosine with source"]["mean"] == pytest.approx(1, abs=1e-5)
    assert measures["quality"] == measures["quality of the base"]
    assert measures["diversity"]["low"] < measures["diversity"]["mean"] < measures["diversity"]["high"]
    assert result["setting"]["psi"] == 1.0
    assert json.loads(json.dumps(result)) == result


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
