"""A run with a store resumes after any interruption, and its snapshots show it at their moments."""

from __future__ import annotations

import copy
import hashlib
import json
from contextlib import nullcontext
from dataclasses import MISSING, asdict, fields, replace

import pytest
import torch
from helpers.models import alive, moved
from helpers.runs import assert_same, config

import nada
from nada import AdaptConfig, KeptRun, UsageError, adapt, apply_style, generate, sample_latents
from nada.clip import load_clip
from nada.runs import snapshots
from nada.runs.folder import RunFolder
from nada.runs.snapshots import Photographer, Snapshot, Snapshots, evenly
from nada.runs.store import adaptation_key
from nada.stylegan2 import GeneratorConfig
from nada.training.state import FREE, save_state


def test_snapshots_are_the_generator_at_those_steps(tiny, clip, tmp_path):
    kept = KeptRun(tmp_path, tiny, clip, config(), moments=3)
    as_they_were = {step.iteration: copy.deepcopy(step.generator) for step in kept}
    assert [s.iteration for s in kept.snapshots.all] == [2, 4, 6]
    ws = sample_latents(tiny, 3)
    for snapshot in kept.snapshots.all:
        images = generate(kept.snapshots.generator(snapshot), ws)
        expected = generate(as_they_were[snapshot.iteration], ws)
        assert (images - expected).abs().max() < 2 / 255
        assert (images - generate(tiny, ws)).abs().max() > 2 / 255
        assert snapshot.style.recipe["iterations_done"] == snapshot.iteration


@pytest.mark.parametrize("layers", ["all", "mapping"])
def test_the_figures_are_those_of_an_independent_computation(tiny, clip, layers):
    run = nada.adapt(tiny, clip, config(iterations=3, batch=5, layers=layers, learning_rate=0.02))
    for _ in run:
        pass
    snapshot = Photographer(run).take()
    images = lambda g: generate(g, sample_latents(g, 16, 0, truncation_psi=1.0)).clamp(-1, 1)  # by its own mapping
    (model,) = clip
    before, after = (
        torch.nn.functional.normalize(model.encode_image(images(g)), dim=1).detach().double()
        for g in (tiny, run.trained)
    )
    cosines = torch.cosine_similarity(after - before, run.goal.directions[0].double()[None])
    assert snapshot.agreement == pytest.approx(cosines.mean().item(), abs=1e-4)

    def spread(x):
        pairs = [1 - x[i] @ x[j] for i in range(len(x)) for j in range(i)]
        return sum(pairs) / len(pairs)

    assert snapshot.variety == pytest.approx((spread(after) / spread(before)).item(), rel=1e-3)


def test_a_crash_costs_only_the_steps_since_the_last_snapshot(tiny, clip, tmp_path):
    whole = KeptRun(tmp_path / "whole", tiny, clip, config(), moments=3)
    losses = [float(step.loss) for step in whole]
    crashed = iter(KeptRun(tmp_path / "store", tiny, clip, config(), moments=3))
    for _ in range(5):
        next(crashed)
    rest = KeptRun(tmp_path / "store", tiny, clip, config(), moments=3)
    assert rest.begin == 4
    assert [float(step.loss) for step in rest] == losses[4:]
    assert_same(rest.run.trained, whole.run.trained)
    assert rest.history.packed()["losses"] == whole.history.packed()["losses"]
    assert [s.iteration for s in rest.snapshots.all] == [2, 4, 6]
    for ours, theirs in zip(rest.snapshots.all, whole.snapshots.all, strict=True):
        assert ours.agreement == pytest.approx(theirs.agreement)
        assert_same(rest.snapshots.generator(ours), whole.snapshots.generator(theirs))


def states(store) -> list[int]:
    (folder,) = store.iterdir()
    return list(RunFolder(folder).states())


def test_only_the_last_state_of_a_run_stays(tiny, clip, tmp_path):
    for _ in KeptRun(tmp_path, tiny, clip, config(), moments=3):
        pass
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("photo_to_sketch-")
    assert states(tmp_path) == [6]
    assert list(RunFolder(folder).snapshot_files()) == [2, 4, 6]
    for _ in KeptRun(tmp_path, tiny, clip, config(iterations=8), moments=1):
        pass
    assert states(tmp_path) == [6, 8], "the shorter run's is still of use"
    stopped = KeptRun(tmp_path, tiny, clip, config(iterations=12), moments=1)
    next(stopped)
    stopped.keep()
    assert states(tmp_path) == [6, 8, 9]
    for _ in KeptRun(tmp_path, tiny, clip, config(iterations=12), moments=1):
        pass
    assert states(tmp_path) == [6, 8, 12], "that of iteration 9 is not"
    assert list(KeptRun(tmp_path, tiny, clip, config(), moments=3)) == [], "nor is the shorter run repeated"


def test_a_lost_snapshot_costs_only_itself(tiny, clip, tmp_path, caplog):
    for _ in KeptRun(tmp_path, tiny, clip, config(), moments=3):
        pass
    (lost,) = tmp_path.glob("*/snapshots/iteration_00004.style.safetensors")
    lost.write_bytes(b"not a style")
    again = KeptRun(tmp_path, tiny, clip, config(), moments=3)
    assert list(again) == []
    assert [s.iteration for s in again.snapshots.all] == [2, 6]
    assert "cannot be used" in caplog.text


def test_each_thing_that_changes_the_result_changes_the_key(tiny, clip, clip_folder):
    pictures = torch.rand(2, 3, 16, 16)
    other_clip = load_clip(str(clip_folder))
    with torch.no_grad():
        next(other_clip.parameters()).add_(0.1)
    renamed = load_clip(str(clip_folder))
    renamed.models[0].name = "another"
    keys = [
        adaptation_key(tiny, clip, config()),
        adaptation_key(moved(tiny), clip, config()),
        adaptation_key(tiny, other_clip, config()),
        adaptation_key(tiny, renamed, config()),
        adaptation_key(tiny, load_clip(f"{clip_folder}:0.5"), config()),
        adaptation_key(tiny, clip, config(), pictures),
        adaptation_key(tiny, clip, config(), pictures + 0.01),
        adaptation_key(tiny, clip, config(), pictures.transpose(2, 3).flip(0)),
    ]
    keys += [
        adaptation_key(tiny, clip, config(**changes))
        for changes in ({"seed": 1}, {"batch": 3}, {"target": "pig"}, {"views": 1}, {"layers": 3}, {"mixing": 0.5})
    ]
    assert len(set(keys)) == len(keys)
    assert adaptation_key(tiny, load_clip(str(clip_folder)), config(iterations=9, cuda_graphs=True)) == keys[0]


def test_the_suggestion_is_the_most_varied_of_the_best(tiny):
    style = nada.Style.between(tiny, moved(tiny))

    def at(iteration, agreement, variety):
        return Snapshot(iteration, style, agreement, variety)

    moments = (at(50, 0.5, 1.2), at(100, 0.79, 0.8), at(150, 0.80, 0.6), at(200, 0.79, 0.3))
    snapshots = Snapshots(tiny, moments)
    assert snapshots.best.iteration == 100
    assert snapshots.last.iteration == 200
    assert [snapshots.nearest(i).iteration for i in (1, 90, 130, 999)] == [50, 100, 150, 200]
    assert_same(snapshots.generator(snapshots.best), apply_style(tiny, style))
    assert snapshots.generator(snapshots.best).metadata["adaptations"] == [style.recipe]
    assert Snapshots(tiny, (at(1, -0.5, 1.0), at(2, -0.1, 0.1))).best.iteration == 2
    with pytest.raises(UsageError, match="no snapshots"):
        _ = Snapshots(tiny, ()).best


@pytest.mark.parametrize(
    ("iterations", "count", "expected"),
    [(300, 6, [50, 100, 150, 200, 250, 300]), (10, 3, [3, 7, 10]), (2, 6, [1, 2]), (5, 1, [5]), (2, 10**11, [1, 2])],
)
def test_moments_are_even_and_end_at_the_end(iterations, count, expected):
    assert evenly(iterations, count) == expected


RECIPE_OF_0_1 = {
    "source", "target", "iterations", "batch", "learning_rate", "layers", "train", "rank", "train_torgb", "train_const",
    "train_mapping", "select_every", "select_batch", "select_steps", "directional_weight", "global_weight",
    "norm_weight", "angle_weight", "patch_weight", "image_share", "mixing", "precision", "cuda_graphs", "views",
    "templates", "seed", "clip", "base", "goal", "source_found", "iterations_done",
}  # fmt: skip


@pytest.mark.parametrize(("first", "then", "expected"), [(3, 3, [2, 6, 9]), (3, 6, [2, 4, 6, 8, 9]), (6, 1, [9])])
def test_a_longer_run_has_at_most_as_many_snapshots_as_asked(tiny, clip, tmp_path, first, then, expected):
    list(KeptRun(tmp_path, tiny, clip, config(iterations=6), moments=first))
    longer = KeptRun(tmp_path, tiny, clip, config(iterations=9), moments=then)
    list(longer)
    assert [snapshot.iteration for snapshot in longer.snapshots.all] == expected


def test_the_state_of_a_run_of_version_0_1_is_resumed(tiny, clip, tmp_path):
    """Version 0.1's state was beside the results, identified CLIP models by probes, and had no key."""
    whole = KeptRun(RunFolder(tmp_path / "whole"), tiny, clip, config(), moments=1)
    list(whole)
    begun = KeptRun(RunFolder(tmp_path / "old"), tiny, clip, config(), moments=1)
    next(begun)
    state = begun.run.state(history=begun.history.packed(), generator="base.safetensors", clip="demo")
    models = [{name: model[name] for name in ("name", "weight")} for model in state.recipe["clip"]]
    probes = {"probe.text.0": torch.ones(3), "probe.image.0": torch.ones(3)}
    recipe = {name: value for name, value in state.recipe.items() if name in RECIPE_OF_0_1} | {"clip": models}
    old = replace(state, recipe=recipe, tensors=state.tensors | probes)
    save_state(old, tmp_path / "old" / "resume.safetensors")
    resumed = KeptRun(RunFolder(tmp_path / "old"), tiny, clip, config(), moments=1)
    assert resumed.begin == 1
    list(resumed)
    assert_same(resumed.run.trained, whole.run.trained)
    assert list(RunFolder(tmp_path / "old").states()) == [0, 6]


def test_a_setting_that_a_run_did_not_know_counts_as_its_default(tiny, clip):
    begun = adapt(tiny, clip, config())
    next(begun)
    state = begun.state()
    for name in {field.name for field in fields(AdaptConfig) if field.default is not MISSING}:
        recipe = {known: value for known, value in state.recipe.items() if known != name}
        changed = state.recipe[name] != getattr(AdaptConfig("photo", "sketch"), name)
        with pytest.raises(UsageError, match=name) if changed and name not in FREE else nullcontext():
            adapt(tiny, clip, config(), resume=replace(state, recipe=recipe))


def test_new_settings_are_in_a_key_only_where_they_differ_from_their_defaults(tiny, clip):
    described = [asdict(config()), tiny.fingerprint(), clip.describe()]
    described[0] = {name: value for name, value in described[0].items() if name in RECIPE_OF_0_1 - {*FREE}}
    key_of_0_1 = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    assert adaptation_key(tiny, clip, config()) == key_of_0_1
    assert adaptation_key(tiny, clip, config(style_weight=0.5)) != key_of_0_1


@pytest.mark.parametrize("stop", [4, pytest.param(6, marks=pytest.mark.slow)])
def test_a_state_that_a_killed_run_left_is_removed(tiny, clip, tmp_path, monkeypatch, stop):
    """The run is killed after it has saved a state, and before it has deleted the previous one."""
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "forget_states_before", lambda *_: None)
        for step in KeptRun(RunFolder(tmp_path), tiny, clip, config(), moments=3):
            if step.iteration == stop:
                break
    assert len(RunFolder(tmp_path).states()) == stop / 2
    list(KeptRun(RunFolder(tmp_path), tiny, clip, config(), moments=3))
    assert list(RunFolder(tmp_path).states()) == [6]
    list(KeptRun(RunFolder(tmp_path), tiny, clip, config(iterations=8), moments=1))
    assert list(RunFolder(tmp_path).states()) == [6, 8], "the end of a shorter run stays"


def test_snapshots_are_measured_on_all_classes(clip, monkeypatch):
    """As the training and its goal."""
    generator = alive(GeneratorConfig(8, (8, 8), z_dim=8, w_dim=8, mapping_layers=2, c_dim=3))
    run = adapt(generator, clip, AdaptConfig("photo", "sketch", iterations=1, layers="all", batch=1))
    labels = []
    forward = type(generator.mapping).forward

    def noted(mapping, z, *rest, **options):
        labels.append(options["label"] if "label" in options else rest[2])
        return forward(mapping, z, *rest, **options)

    monkeypatch.setattr(type(generator.mapping), "forward", noted)
    photographer = Photographer(run)
    assert {*torch.cat([x for x in labels if isinstance(x, torch.Tensor)]).tolist()} == {0, 1, 2}
    assert len(photographer.sources[0]) == snapshots.IMAGES
