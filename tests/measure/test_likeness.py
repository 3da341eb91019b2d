"""Identity kept: by the judge, by CLIP models that took no part, and on codes of photos."""

from __future__ import annotations

import copy
import json

import pytest
import torch

import nada
from nada.cli import main
from nada.latents.sampling import sample_latents
from nada.measure.evaluate import EvaluateConfig, evaluate, report
from nada.measure.likeness import embedding_likeness, judged_likeness
from nada.measure.metrics import found_again
from nada.photo.codes import Codes, save_codes
from nada.photo.crop import middle_crop

from .test_evaluate import DESCRIPTION, Oracle, pictures


def test_the_same_one_in_another_style_is_found_again():
    blue = torch.linspace(-1, 1, 20)
    before = pictures(-1, -1, blue)
    kept = judged_likeness(Oracle(DESCRIPTION), before, pictures(1, -1, blue / 3 + 0.1))
    assert kept["identity kept"] == pytest.approx(1, abs=1e-4)
    assert kept["found again"] == kept["kind kept"] == 1
    mixed = judged_likeness(Oracle(DESCRIPTION), before, pictures(1, -1, blue[torch.randperm(20)]))
    assert mixed["found again"] < 0.4
    cats = torch.tensor([1.0] * 5 + [-1.0] * 15)
    assert judged_likeness(Oracle(DESCRIPTION), before, pictures(1, cats, blue))["kind kept"] == 0.75


def test_pictures_of_nothing_known_are_compared_as_what_they_are_most_like():
    blue = torch.linspace(-1, 1, 20)
    kept = judged_likeness(Oracle(DESCRIPTION), pictures(-1, -1, blue), pictures(0.05, -1, blue))
    assert kept["identity kept"] == pytest.approx(1, abs=1e-4)


def test_rows_are_compared_by_the_same_parameters_whatever_the_judge_takes_them_for():
    blue = torch.linspace(-1, 1, 20)
    judge = Oracle(DESCRIPTION | {"readable": {"photo dog": [0.9, 0.9], "sketch dog": [0.9, 0.1], "sketch cat": []}})
    before, sketches, cats = pictures(-1, -1, blue), pictures(1, -1, blue), pictures(1, 1, blue)
    assert "identity kept" not in judged_likeness(judge, before, cats)
    kinds = ("photo", "dog"), ("sketch", "dog")
    shown = {"identity kept", "weakest parameter", "found again"}
    rows = [judged_likeness(judge, before, after, kinds) for after in (before, sketches, cats)]
    assert all(shown <= row.keys() for row in rows)
    asked = []
    judge.readable_parameters = lambda *kind: asked.append(kind) or [0]
    judged_likeness(judge, before, before, kinds)
    assert asked == [*kinds], "not what the judge takes them for"


def test_found_again_ignores_scale_and_shift():
    rows = torch.randn(30, 4)
    assert found_again(rows, rows * torch.tensor([2.0, 3.0, 0.1, 9.0]) - 5) == 1
    assert found_again(rows, rows.roll(1, 0)) < 0.2


def test_clip_finds_pictures_again():
    embeddings = torch.randn(6, 8)
    kept = embedding_likeness(embeddings, embeddings)
    assert kept["found again"] == 1
    assert kept["identity kept"] == pytest.approx(1, abs=1e-5)


def test_measures_codes_of_photos_with_independent_models(small, clip):
    codes = sample_latents(small, 3, 9)
    config = EvaluateConfig(target="sketch", count=50, seeds=7)
    result = evaluate(small, clip, config, small, identity=clip, latents=codes)
    (name,) = (model.name for model in clip)
    assert result["measures"][f"identity kept, by {name}"] == {"mean": pytest.approx(1, abs=1e-5)}
    assert result["identity"] == clip.describe()
    setting = result["setting"]
    assert [setting[name] for name in ("count", "seeds", "first_seed", "psi", "mixing")] == [3, None, None, None, None]
    other = evaluate(small, clip, config, small, latents=codes[:2])["setting"]
    assert setting["latents"] != other["latents"]
    assert "count 3, templates" in report(result)


def test_the_command_refuses_a_model_that_took_part(small, clip, clip_folder, tmp_path, capsys):
    adapted = copy.deepcopy(small)
    adapted.metadata["adaptations"] = [{"target": "sketch", "clip": clip.describe()}]
    base, path, codes = (str(tmp_path / f"{name}.safetensors") for name in ("base", "adapted", "codes"))
    nada.save_generator(small, base)
    nada.save_generator(adapted, path)
    crops = (middle_crop((40, 40)),) * 3
    save_codes(Codes(sample_latents(small, 3), crops, ("", "", ""), small.fingerprint()), codes)
    common = ["evaluate", "--generator", path, "--base", base, "--clip", str(clip_folder), "--device", "cpu"]
    assert main([*common, "--latents", codes, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measures"]["source found again"]["mean"] == 1
    assert main([*common, "--latents", codes, "--identity", str(clip_folder)]) == 2
    assert "was trained with" in capsys.readouterr().err
