"""What a sweep is to measure and to rank by is checked before anything trains."""

from __future__ import annotations

import pytest
import torch

from nada.cli.shared import load_base
from nada.errors import UsageError
from nada.measure.demo_judge import load_judge
from nada.measure.evaluate import EvaluateConfig, evaluate
from nada.measure.judging import measures_for
from nada.sweep.jobs import Job, Models
from nada.sweep.measures import OF_CLIP, OF_IMAGES, OF_JUDGE, check_measures
from nada.sweep.plan import Evaluation
from nada.training.config import AdaptConfig

HALVING = ("--keep-best", "1/2", "--at", 1)


@pytest.fixture(scope="module")
def demo():
    return load_base("demo")


def test_the_known_measures_are_those_of_an_evaluation(demo, clip):
    extra = measures_for(load_judge(), "sketch")
    result = evaluate(demo, clip, EvaluateConfig("sketch", count=4, seeds=1), demo, extra)
    assert {*result["measures"], *result["left_out"]} == {*OF_CLIP, *OF_JUDGE, *OF_IMAGES}


@pytest.mark.parametrize(
    ("generator", "targets", "clip", "metric", "words"),
    [
        ("demo", ["sketch"], "demo", "quality", ""),
        ("demo", ["sketch"], "demo", "demo-conv quality", ""),
        ("demo", ["sketch"], "demo-conv", "demo-conv quality", "there is no measure 'demo-conv quality'"),
        ("demo", ["sketch"], "demo", "qualty", "there is no measure 'qualty'; there are: quality, diversity"),
        ("demo", ["zebra", "sketch"], "demo", "target rate", ""),
        ("demo", ["zebra"], "demo", "target rate", "no job can be ranked by 'target rate'"),
        ("tiny", ["sketch"], "demo", "target rate", "no job can be ranked by 'target rate'"),
        ("tiny", ["sketch"], "demo", None, ""),
    ],
)
def test_a_metric_that_no_job_can_have_is_refused(demo, tiny, generator, targets, clip, metric, words):
    models = Models({"demo": demo, "tiny": tiny}.get, torch.device("cpu"))
    jobs = [Job(f"{number:064x}", generator, clip, AdaptConfig("photo", text)) for number, text in enumerate(targets)]
    if not words:
        check_measures(Evaluation({}), metric, jobs, models)
        return
    with pytest.raises(UsageError, match=words):
        check_measures(Evaluation({}), metric, jobs, models)


@pytest.mark.parametrize(
    ("file", "options", "words"),
    [
        ("evaluate: {clip: ViT-B/99}", (), "there is no CLIP architecture 'ViT-B/99'"),
        ("evaluate: {clip: 'demo:-1'}", (), "the weight of 'demo' is -1.0; it must be 0 or more"),
        ("evaluate: {metrics: [quality, qualty]}", (), "there is no measure 'qualty'"),
        ("evaluate: {count: 4}", (*HALVING, "--metric", "qualty"), "there is no measure 'qualty'"),
        ("halving: {metric: qualty, keep_best: 1/2, at: 1}", (), "there is no measure 'qualty'"),
    ],
)
@pytest.mark.parametrize("dry", [(), pytest.param(("--dry-run",), marks=pytest.mark.slow)])
def test_mistakes_are_found_before_the_training(nada, trained, tmp_path, file, options, words, dry):
    (tmp_path / "s.yaml").write_text(file)
    sweep = ("sweep", "s.yaml", "--target", "sketch", "--source", "photo", "--iterations", 2, "--out", "s")
    code, _, error = nada(*sweep, *options, *dry)
    assert (code, words in error, trained) == (2, True, []), error
    assert not (tmp_path / "s").exists()
