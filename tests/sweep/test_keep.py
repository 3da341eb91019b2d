"""The files that a sweep keeps of its jobs, and what it says when it is asked for others later."""

from __future__ import annotations

import shutil
from itertools import product

import pytest

from nada.errors import NadaError
from nada.sweep.best import copy_best
from nada.sweep.plan import GENERATOR, KEEP, NONE, STYLE, Evaluation
from nada.sweep.ranking import Ranking
from nada.sweep.report import Report
from nada.sweep.state import Orders
from nada.sweep.work import Worker

KEPT = {STYLE: {STYLE}, GENERATOR: {STYLE, GENERATOR}, NONE: set()}


def kept(folder):
    names = [path.name for path in folder.path.glob("*.safetensors")]
    return {STYLE if name.endswith(".style.safetensors") else GENERATOR for name in names}


PAIRS = list(product(KEEP, KEEP))
TELLING = [(NONE, STYLE), (STYLE, GENERATOR), (GENERATOR, STYLE)]  # every time; the others are slow tests


@pytest.mark.parametrize(
    ("first", "then"),
    [*TELLING, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS if pair not in TELLING)],
)
def test_a_file_that_was_not_kept_is_missed_with_a_way_out(resolved, models, tmp_path, caplog, first, then):
    (job,) = resolved({"target": "sketch", "iterations": 1})
    orders = {keep: Orders(tmp_path, keep=keep) for keep in KEEP}
    folder = orders[first].folder(job)
    for keep in (first, then):
        caplog.clear()
        Worker(models, orders[keep]).work([job])
        assert kept(folder) == KEPT[first], "nothing is repeated, and nothing is lost"
    missing = then != NONE and then not in KEPT[first]
    assert (f"the {then} of {job.folder_name} was not kept" in caplog.text) == missing
    assert (f"delete {folder.path} and run the sweep again" in caplog.text) == missing
    if missing:
        caplog.clear()
        shutil.rmtree(folder.path)
        Worker(models, orders[then]).work([job])
        assert kept(folder) == KEPT[then]
        assert not caplog.text


def test_copying_a_style_that_was_not_kept_says_the_same(resolved, models, tmp_path):
    (job,) = resolved({"target": "sketch", "iterations": 1})
    orders = Orders(tmp_path, NONE, Evaluation({"count": 4, "seeds": 1}))
    Worker(models, orders).work([job])
    Report(tmp_path, [job], "title").save()
    with pytest.raises(NadaError, match=rf"{job.folder_name} holds no style; delete this folder .* `keep: style`"):
        copy_best(tmp_path, tmp_path / "styles", Ranking())
