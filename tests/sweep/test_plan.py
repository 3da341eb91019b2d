"""Sweep files: the jobs that they describe, and the contents that are refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import product

import pytest
import torch
from PIL import Image

from nada.errors import UsageError
from nada.sweep import estimate
from nada.sweep import jobs as jobs_module
from nada.sweep.halving import Halving
from nada.sweep.jobs import Job, Models
from nada.sweep.local import groups
from nada.sweep.plan import COMPARED, MAX_JOBS, MODELS, PICTURES, SETTINGS, changed, make_plan, read_sweep, target_lines
from nada.training.config import AdaptConfig


def combinations(**description):
    return [dict(settings) for settings in make_plan(description).combinations]


def test_a_grid_is_every_combination_with_the_seeds_last():
    found = combinations(base={"batch": 2}, grid={"seed": [5, 1], "target": ["a", "b"], "iterations": [10, 20]})
    assert len(found) == 8
    assert [settings["seed"] for settings in found] == [5] * 4 + [1] * 4
    assert found[0] == {"batch": 2, "seed": 5, "target": "a", "iterations": 10}


def test_pairs_belong_together_and_take_the_axes_that_they_do_not_set():
    pairs = [{"source": "dog", "target": "pig", "iterations": 20}, {"source": "cat", "target": "fox"}]
    found = combinations(base={"iterations": 10}, grid={"seed": [0, 1]}, pairs=pairs)
    texts = [(settings["source"], settings["target"], settings["iterations"], settings["seed"]) for settings in found]
    assert texts == [("dog", "pig", 20, 0), ("cat", "fox", 10, 0), ("dog", "pig", 20, 1), ("cat", "fox", 10, 1)]


def test_pairs_stand_beside_a_grid_of_targets():
    found = combinations(grid={"target": ["a", "b"], "seed": [0]}, pairs=[{"source": "dog", "target": "pig"}])
    assert [settings["target"] for settings in found] == ["a", "b", "pig"]


def test_style_images_are_targets_too():
    """A list is several pictures of one target; in a grid, each entry is a target of its own."""
    found = combinations(base={"style_images": "a.png"}, grid={"seed": [0, 1]})
    assert [settings["style_images"] for settings in found] == [("a.png",)] * 2
    found = combinations(grid={"style_images": ["a.png", ["b.png", "c"]], "target": ["x", ""]})
    assert [(settings["style_images"], settings["target"]) for settings in found] == [
        (("a.png",), "x"),
        (("a.png",), ""),
        (("b.png", "c"), "x"),
        (("b.png", "c"), ""),
    ]
    found = combinations(
        grid={"target": ["a", "b"]},
        pairs=[{"style_images": "c", "target": "chalk", "image_share": 1}, {"style_images": ["d"], "target": ""}],
        exclude=[{"style_images": "d"}, {"style_images": [], "target": "b"}],
    )
    assert [settings["target"] for settings in found] == ["a", "chalk"]


def test_excluded_are_jobs_that_have_all_of_a_rule(caplog):
    found = combinations(
        grid={"target": ["a", "b"], "seed": [0, 1]},
        exclude=[{"target": "a", "seed": 1}, {"batch": 2, "target": "b", "seed": 0}, {"target": "c"}],
    )
    assert [(settings["target"], settings["seed"]) for settings in found] == [("a", 0), ("b", 1)]
    assert "the entry {'target': 'c'} of exclude matches no job" in caplog.text


def test_groups_are_formed_in_one_pass_over_the_jobs(monkeypatch):
    config, asked = AdaptConfig("photo", "sketch"), []
    monkeypatch.setattr(jobs_module, "asdict", lambda config: asked.append(config) or asdict(config))
    targets, seeds = ("a", "b", "c", "d", "e"), range(40)
    jobs = [
        Job(f"{number:064x}", "g", "c", replace(config, target=target, seed=seed))
        for number, (target, seed) in enumerate(product(targets, seeds))
    ]
    found = groups(jobs, 2)
    assert [[(job.config.target, job.config.seed) for job in group] for group in found] == [
        [(target, seed) for target in pair] for pair in (("a", "b"), ("c", "d"), ("e",)) for seed in seeds
    ]
    assert len(asked) == len(jobs), "each job is described once"


def test_the_disk_space_is_estimated_once_for_all_jobs_that_train_the_same(tmp_path, tiny, monkeypatch):
    measured = []
    bytes_of = estimate.bytes_of
    monkeypatch.setattr(estimate, "bytes_of", lambda job, *given: measured.append(job) or bytes_of(job, *given))
    models = Models(lambda name: tiny, torch.device("cpu"))
    config = AdaptConfig("photo", "sketch", train="lora")
    kinds = [config, replace(config, rank=2), replace(config, train="weights")]
    jobs = [
        Job(f"{seed:064x}", "g", "c", replace(kind, seed=seed, learning_rate=0.001 * (1 + seed % 5), iterations=seed))
        for seed in range(1, 11)
        for kind in kinds
    ]
    total = estimate.refuse_short_disk(tmp_path, jobs, models, "style", 2)
    assert len(measured) == len(kinds)
    sizes = [bytes_of(job, models, "style") for job in jobs]
    assert total == sum(kept for kept, _ in sizes) + sum(sorted(working for _, working in sizes)[-2:])


def test_numbers_that_yaml_takes_for_texts_are_numbers(tmp_path):
    (tmp_path / "sweep.yaml").write_text("base: {target: a, learning_rate: 1e-3}\ngrid: {norm_weight: [0, 5e-1]}")
    plan = make_plan(read_sweep(tmp_path / "sweep.yaml"))
    assert [(s["learning_rate"], s["norm_weight"]) for s in plan.combinations] == [(0.001, 0), (0.001, 0.5)]


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"grids": {}}, "unknown entry 'grids'"),
        ({"base": {"targets": "a"}}, "unknown entry 'targets'"),
        ({"base": {"target": ["a"]}}, "Put several values of a setting into grid"),
        ({"grid": {"target": "a"}}, "grid.target is 'a'; it must be a list"),
        ({"grid": {"target": []}}, "grid.target has no values"),
        ({"grid": {"colour": ["a"]}}, "unknown entry 'colour'"),
        ({"base": {"target": 3}}, "target is 3; it must be a text"),
        ({"base": {"target": "a", "generator": 3}}, "generator is 3"),
        ({"base": {"batch": 2}}, "the sweep has no jobs"),
        ({"pairs": [{"source": "dog"}]}, "a job has no target"),
        ({"base": {"target": "a"}, "exclude": [{"target": "a"}]}, "the sweep has no jobs"),
        ({"base": {"target": "a"}, "keep": "all"}, "keep is 'all'"),
        ({"base": {"target": "a"}, "evaluate": {"counts": 3}}, "unknown entry 'counts'"),
        ({"base": {"target": "a"}, "evaluate": {"count": 1}}, "count is 1"),
        ({"base": {"target": "a"}, "evaluate": {"metrics": [1]}}, "list of names"),
        ({"base": {"target": "a"}, "name": 7}, "name is 7"),
        ({"base": {"target": "a"}, "name": "\ud800"}, "must be a text in UTF-8"),
        ({"base": {"target": "a"}, "grid": {"seed": list(range(400)), "batch": list(range(1, 400))}}, str(MAX_JOBS)),
        ({"pairs": {"target": "a"}}, "must be a list"),
        ({"grid": {"style_images": "a.png"}}, "grid.style_images is 'a.png'; it must be a list"),
        ({"base": {"style_images": 3}}, "style_images is 3; it must be the path"),
        ({"grid": {"style_images": [["a.png", " "]]}}, "it must be the path"),
        ({"base": {"style_images": ["a.png", "\ud800"]}}, "must be a text in UTF-8"),
        ({"base": {"style_images": []}}, "give it a target text or style_images"),
        ({"base": {"style_images": "a.png"}, "evaluate": {"count": 4}}, "cannot be measured: .* image_share: 1"),
    ],
)
def test_mistakes_are_explained(description, words):
    with pytest.raises(UsageError, match=words):
        make_plan(description)


class CountedSeed(int):
    """Counts how often a seed is compared with another one."""

    compared = 0
    __hash__ = int.__hash__

    def __eq__(self, other):
        CountedSeed.compared += 1
        return int(self) == int(other)


def test_the_order_of_many_seeds_costs_no_comparison_of_each_with_each():
    seeds = [CountedSeed(seed) for seed in range(300, 0, -1)]
    assert [int(settings["seed"]) for settings in combinations(grid={"target": ["a"], "seed": seeds})] == seeds
    assert CountedSeed.compared < 10 * len(seeds)


@pytest.mark.parametrize("text", ["a: [", "- a", "\x00", "&a [*a, *b]"])
def test_files_that_are_no_sweep_are_refused(tmp_path, text):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"sweep\.yaml is"):
        read_sweep(tmp_path / "sweep.yaml")
    with pytest.raises(UsageError, match="there is no file"):
        read_sweep(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    "place",
    [
        "name: {}",
        "base: {}",
        "base: {{target: {}}}",
        pytest.param("base: {{style_images: {}}}", marks=pytest.mark.slow),
        "grid: {{target: [a], style_images: {}}}",
        pytest.param("grid: {{target: [a], batch: {}}}", marks=pytest.mark.slow),
        pytest.param("pairs: {}", marks=pytest.mark.slow),
        pytest.param("exclude: {}", marks=pytest.mark.slow),
        pytest.param("keep: {}", marks=pytest.mark.slow),
        pytest.param("evaluate: {}", marks=pytest.mark.slow),
        "evaluate: {{count: {}}}",
        pytest.param("evaluate: {{metrics: {}}}", marks=pytest.mark.slow),
        pytest.param("halving: {}", marks=pytest.mark.slow),
        "halving: {{keep_best: {}, at: 5}}",
        "halving: {{keep_best: 1/2, at: {}}}",
    ],
)
def test_aliases_that_stand_for_more_than_memory_holds_are_refused(tmp_path, place):
    levels = ["x0: &x0 [a, a]", *(f"x{i}: &x{i} [{', '.join(f'*x{i - 1}' for _ in range(9))}]" for i in range(1, 30))]
    rest = [] if place.startswith(("base", "grid")) else ["base: {target: a}"]
    (tmp_path / "sweep.yaml").write_text("\n".join([*levels, place.format("*x29"), *rest]))
    found = {key: value for key, value in read_sweep(tmp_path / "sweep.yaml").items() if not key.startswith("x")}
    with pytest.raises(UsageError):
        Halving.parse(**make_plan(found).halving)


def test_an_empty_evaluation_leaves_a_comparison_its_own():
    found = {"base": {"target": "a"}, "evaluate": None, "halving": {"at": 5, "keep_best": "1/2"}}
    assert make_plan(found).evaluation == make_plan({**found, "evaluate": {"count": COMPARED, "seeds": 1}}).evaluation
    assert make_plan({**found, "halving": None}).evaluation is None


def test_nothing_in_a_file_is_executed(tmp_path):
    (tmp_path / "sweep.yaml").write_text(f"name: !!python/object/apply:os.mkdir ['{tmp_path}/made']")
    with pytest.raises(UsageError, match="is not YAML"):
        read_sweep(tmp_path / "sweep.yaml")
    assert not (tmp_path / "made").exists()


def test_options_change_a_description():
    found = changed(
        {"base": {"target": "a", "batch": 2}, "grid": {"seed": [0, 1]}, "halving": {"at": [5]}},
        {"target": ["b", "c"], "seed": [7], "train_torgb": True},
        {"keep_best": "1/2"},
        "none",
    )
    assert found == {
        "base": {"batch": 2, "seed": 7, "train_torgb": True},
        "grid": {"target": ["b", "c"]},
        "halving": {"at": [5], "keep_best": "1/2"},
        "keep": "none",
    }
    with pytest.raises(UsageError, match="base is 'abc'"):
        changed({"base": "abc"}, {}, {}, None)


def two_values(name):
    """Two different values that a setting may have."""
    if name in (*MODELS, PICTURES) or str in SETTINGS[name].kinds:
        return (SETTINGS[name].choices if name in SETTINGS else ()) or ("one", "other")
    setting = SETTINGS[name]
    return {bool: (False, True), int: (setting.low or 0, (setting.low or 0) + 1)}.get(setting.kinds[0], (0.25, 0.5))


@pytest.mark.parametrize("name", [*SETTINGS, *MODELS, PICTURES])
def test_an_option_overrides_every_setting_wherever_the_file_has_it(name):
    written, asked = two_values(name)[:2]
    pairs = [{name: written, "target": "pig"}, {name: written, "style_images": ["b.png"], "source": "dog"}]
    for parts in ({"base": {name: written}}, {"grid": {name: [written]}}, {}):
        for option in (asked, [asked], [asked, written]):
            found = make_plan(changed({"pairs": pairs, **parts}, {name: option}, {}, None)).combinations
            values = option if isinstance(option, list) else [option]
            told = [settings[name] for settings in found]
            assert {*told} == {(value,) if name == PICTURES else value for value in values}
            assert len(found) == len({tuple(sorted(settings.items())) for settings in found}), "none is repeated"


def test_pairs_without_a_target_of_their_own_stay():
    pairs = [{"source": "dog"}, {"source": "cat", "target": "fox"}, {"source": "pig", "target": "fox", "batch": 3}]
    found = make_plan(changed({"base": {"target": "a"}, "pairs": pairs}, {"target": ["b"]}, {}, None)).combinations
    assert found == ({"target": "b", "source": "dog"},)
    found = make_plan(changed({"pairs": pairs[1:]}, {"target": ["b"], "source": ["d"]}, {}, None)).combinations
    assert found == ({"target": "b", "source": "d"},)
    found = make_plan(changed({"pairs": pairs[1:]}, {"batch": [2], "source": ["d"]}, {}, None)).combinations
    assert found == ({"target": "fox", "source": "d", "batch": 2},), "pairs that became equal are one"
    with pytest.raises(UsageError, match="a pair is 3"):
        changed({"pairs": [3]}, {"target": "b"}, {}, None)


def test_lines_are_targets():
    assert target_lines(" sketch\n\nwatercolor:2 | pencil\r\nsketch \n") == ["sketch", "watercolor:2 | pencil"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{\n\t"grid": {\n\t\t"target": ["a"]\n\t}\n}', {"grid": {"target": ["a"]}}),
        (json.dumps({"base": {"target": "\U0001f600 drawing"}}), {"base": {"target": "\U0001f600 drawing"}}),
        ("{base: {target: a}}", {"base": {"target": "a"}}),
        (
            "base: &b {target: a}\npairs: [{<<: *b, seed: 1}]",
            {"base": {"target": "a"}, "pairs": [{"target": "a", "seed": 1}]},
        ),
    ],
)
def test_files_in_yaml_and_json(tmp_path, text, found):
    (tmp_path / "sweep").write_text(text, "utf-8")
    assert read_sweep(tmp_path / "sweep") == found


@pytest.mark.parametrize("text", ["grid: {target: [a]}\ngrid: {seed: [1]}", '{"name": "a", "base": {}, "name": "b"}'])
def test_a_name_given_twice_is_refused(tmp_path, text):
    (tmp_path / "sweep").write_text(text)
    with pytest.raises(UsageError, match="twice"):
        read_sweep(tmp_path / "sweep")


def test_numbers_that_yaml_takes_for_texts_count_everywhere(tmp_path):
    parts = ("base: {target: a, learning_rate: 1e-3}", "evaluate: {psi: 7e-1}")
    text = "\n".join([*parts, "halving: {keep_best: 1/2, at: 5, min_diversity: 1e-1}"])
    (tmp_path / "sweep").write_text(text)
    plan = make_plan(read_sweep(tmp_path / "sweep"))
    assert plan.evaluation.config("a", "").psi == 0.7
    assert Halving.parse(**plan.halving).ranking.min_diversity == 0.1
    assert plan.combinations[0]["learning_rate"] == 1e-3


def test_settings_of_style_images_need_some(resolved, tmp_path):
    with pytest.raises(UsageError, match="style_weight needs style images"):
        resolved({"target": "a", "style_weight": 2.0}, {"target": "b"})
    Image.new("RGB", (20, 16), "red").save(tmp_path / "a.png")
    pictures = {"style_images": (str(tmp_path / "a.png"),), "target": ""}
    found = resolved(*(one | {"image_share": share} for share in (0.5, 1.0) for one in ({"target": "a"}, pictures)))
    assert [job.config.image_share for job in found] == [None, 0.5, 1.0], "a text alone trains once"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("base: {<<: [{seed: 0}, {batch: 1}]}", {"seed": 0, "batch": 1}),
        ("x: &a {seed: 0}\ny: &b {batch: 1}\nbase:\n  <<: *a\n  <<: *b", {"seed": 0, "batch": 1}),
        ("x: &a {seed: 0}\ny: &b {<<: *a, seed: 2}\nbase: {<<: *b, batch: 1}", {"seed": 2, "batch": 1}),
    ],
)
def test_merged_mappings_are_no_repetitions(tmp_path, text, found):
    (tmp_path / "sweep").write_text(text)
    assert read_sweep(tmp_path / "sweep")["base"] == found
