"""Nodes that choose, blend and measure, and the results of a cancelled training."""

from __future__ import annotations

import shutil
import sys

import pytest
import torch
from helpers.models import moved
from helpers.stub_comfyui import Cancelled

import nada
from nada import UsageError
from nada.cli import main
from nada.cli.interrupt import Interrupt
from nada.pictures import grids


def train(host, tiny, clip, **changes):
    settings = {"source": "photo", "target": "sketch", "iterations": 6, "batch": 8, "learning_rate": 0.0} | changes
    return host.nodes.NADATextAdapt.execute(tiny, clip, preview_every=0, preview_images=1, snapshots=3, **settings)


def test_a_snapshot_is_picked(host, tiny, clip):
    snapshots = train(host, tiny, clip).args[2]
    for pick, step, iteration in (("last", 1, 6), ("step", 4, 4), ("step", 1, 2)):
        with torch.inference_mode():
            generator, strip, picked = host.nodes.NADAPickSnapshot.execute(pick, step, snapshots, rows=2).args
        assert picked == iteration
        snapshot = next(s for s in snapshots.all if s.iteration == iteration)
        assert generator.fingerprint() == snapshots.generator(snapshot).fingerprint()
        assert not any(t.is_inference() for t in generator.state_dict().values())
        assert strip.shape[2] > 4 * grids.TILE_MIN > strip.shape[1], "four columns of two rows"
        assert host.texts[-1].startswith(f"iteration {iteration}: agreement {snapshot.agreement:.2f}, variety")


def test_the_frontend_learns_which_columns_there_are(host, tiny, clip):
    snapshots = train(host, tiny, clip).args[2]
    shown = host.nodes.NADAPickSnapshot.execute("last", 1, snapshots).ui
    assert shown["geometry"][0]["columns"] == 4
    assert len(shown["filmstrip"]) == 1
    assert shown["moments"] == [2, 4, 6]
    assert shown["picked"] == [6]


def test_a_cancelled_training_leaves_its_best_moment_as_a_style(host, tiny, clip):
    host.cancel_after = 4
    with pytest.raises(Cancelled):
        train(host, tiny, clip)
    (path,) = (host.folder / "output" / "stylegan_styles").rglob("*.safetensors")
    style = nada.load_style(path)
    assert path.parent.name == "cancelled"
    assert style.recipe["iterations_done"] in (2, 4)
    assert (
        f"the best so far, iteration {style.recipe['iterations_done']}, is saved as the style cancelled"
        in host.texts[-1]
    )
    assert f"cancelled/{path.name}" in host.nodes.host.files(host.nodes.host.STYLES)


@pytest.mark.slow
def test_snapshots_come_back_with_a_finished_training(host, tiny, clip, monkeypatch):
    first = train(host, tiny, clip).args[2]
    monkeypatch.setattr(nada.Adaptation, "train_step", lambda self: pytest.fail("trained again"))
    again = train(host, tiny, clip).args[2]
    assert [s.iteration for s in again.all] == [2, 4, 6]
    assert again.generator(again.last).fingerprint() == first.generator(first.last).fingerprint()


def test_the_blend_node_blends(host, small):
    other = moved(small)
    blended = host.nodes.NADABlendGenerators.execute(small, other, 0.5, "16").args[0]
    assert blended.fingerprint() == nada.blend_generators(small, other, 0.5, 16).fingerprint()


def test_the_report_is_that_of_the_library(host, tiny, clip):
    options = {"target": "sketch", "count": 4, "repetitions": 2, "base": tiny, "seed": 3}
    report = host.nodes.NADAEvaluate.execute(moved(tiny), clip, **options).args[0]
    config = nada.EvaluateConfig("sketch", count=4, seeds=2, first_seed=3)
    measures = nada.evaluate(moved(tiny), clip, config, tiny)["measures"]
    for name, found in measures.items():
        assert f"{name}" in report
        assert f"{found['mean']:.4f}" in report
    assert [value for value, _ in host.progress] == [4, 8, 12, 16]


def test_an_evaluation_can_be_cancelled(host, tiny, clip):
    host.cancel_after = 1
    with pytest.raises(Cancelled):
        host.nodes.NADAEvaluate.execute(tiny, clip, target="sketch", count=4, repetitions=2)
    assert "target text is empty" in host.nodes.NADAEvaluate.validate_inputs(target=" ")


def test_pictures_of_the_target_are_enough(host, tiny, clip):
    options = {"target": "", "source": "", "iterations": 2, "batch": 8, "learning_rate": 0.0, "image_share": 0.5}
    adapted = host.nodes.NADAImageAdapt.execute(tiny, clip, torch.rand(2, 40, 30, 3), **options).args[0]
    assert adapted.metadata["adaptations"][0]["image_share"] == 1.0
    options |= {"target": "sketch", "image_share": 2.0}
    with pytest.raises(UsageError, match=r"image_share is 2\.0"):
        host.nodes.NADAImageAdapt.execute(tiny, clip, torch.rand(2, 40, 30, 3), **options)


def test_a_run_folder_is_picked_from_and_its_styles_are_listed(host, tiny, clip, clip_folder, tmp_path):
    """A folder of `nada adapt` in models/stylegan_runs works like a run of the node."""
    nada.save_generator(tiny, tmp_path / "base.safetensors")
    runs = host.folder / "models" / "stylegan_runs"
    words = ["adapt", "--generator", tmp_path / "base.safetensors", "--clip", clip_folder, "--source", "photo"]
    words += [
        "--target",
        "sketch",
        "--layers",
        "all",
        "--iterations",
        "4",
        "--snapshot-every",
        "2",
        "--batch",
        "8",
        "--quiet",
    ]
    assert main([*map(str, words), "--device", "cpu", "--out", str(runs / "mine")]) == 0
    pick = host.nodes.NADAPickSnapshot
    assert host.nodes.host.runs() == ["mine"]
    generator, _, iteration = pick.execute("step", 2, generator=tiny, run="mine").args
    assert iteration == 2
    assert main(["pick", str(runs / "mine"), "2", "--out", str(tmp_path / "picked.safetensors")]) == 0
    assert generator.fingerprint() == nada.load_generator(tmp_path / "picked.safetensors").fingerprint()
    listed = host.nodes.host.files(host.nodes.host.STYLES)
    assert listed == [
        "mine/photo_to_sketch.style.safetensors",
        "mine/snapshots/iteration_00002.style.safetensors",
        "mine/snapshots/iteration_00004.style.safetensors",
    ]
    assert nada.load_style(host.nodes.host.file_path(host.nodes.host.STYLES, listed[1])).recipe["iterations_done"] == 2
    before = pick.fingerprint_inputs(run="mine")
    (runs / "mine" / "snapshots" / "iteration_00002.style.safetensors").unlink()
    assert pick.fingerprint_inputs(run="mine") != before
    for arguments, sentence in [
        ({}, "no snapshots arrived: connect those"),
        ({"run": "mine"}, "connect the generator"),
        ({"run": "mine", "generator": moved(tiny)}, "started from another generator"),
        ({"run": "lost", "generator": tiny}, "no run 'lost'"),
        ({"run": "../../input", "generator": tiny}, "there is no run"),
    ]:
        with pytest.raises(UsageError, match=sentence):
            pick.execute("last", 1, **arguments)


def test_a_run_begun_here_is_resumed_there(host, tiny, clip, clip_folder, tmp_path, monkeypatch):
    """Cancelled on the node and resumed by `nada adapt --resume`, or the reverse: both end the same."""
    nada.save_generator(tiny, tmp_path / "base.safetensors")
    models = ["--generator", str(tmp_path / "base.safetensors"), "--clip", str(clip_folder)]
    whole = train(host, tiny, clip, seed=1).args[0]
    host.cancel_after = 3
    with pytest.raises(Cancelled):
        train(host, tiny, clip, seed=2)
    host.cancel_after = None
    runs = host.folder / "models" / "stylegan_runs"
    (folder,) = [path for path in runs.iterdir() if list(nada.RunFolder(path).states()) != [6]]
    assert main(["adapt", "--resume", str(folder), *models, "--quiet", "--device", "cpu"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(nada.Adaptation, "train_step", lambda self: pytest.fail("trained again"))
        resumed = train(host, tiny, clip, seed=2).args[0]
    assert resumed.fingerprint() == nada.load_generator(folder / "photo_to_sketch.safetensors").fingerprint()
    assert resumed.fingerprint() != whole.fingerprint()

    shutil.rmtree(runs)
    words = ["adapt", *models, "--source", "photo", "--target", "sketch", "--iterations", "6", "--batch", "8"]
    words += ["--seed", "1", "--quiet", "--device", "cpu", "--out", str(runs / "mine")]
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "requested", property(lambda self: True, lambda self, value: None), raising=False)
        assert main(words) == 130
    assert list(nada.RunFolder(runs / "mine").states()) == [1]
    continued = train(host, tiny, clip, seed=1).args[0]
    assert "continues after iteration 1" in host.texts
    assert continued.fingerprint() == whole.fingerprint()
    assert list(nada.RunFolder(runs / "mine").states())[-1] == 6, "in the same folder"


def test_a_generator_passes_through_where_the_training_is_bypassed(host, tiny):
    generator, strip, step = host.nodes.NADAPickSnapshot.execute("best", 1, generator=tiny, rows=2).args
    assert generator is tiny
    assert step == 0
    assert strip.shape[0] == 1
    assert "passes through" in host.texts[-1]


def test_pictures_show_a_trained_mapping_network(host, tiny, clip):
    """Each generator maps the latents itself: in filmstrips, and on both sides of a walk."""
    snapshots = train(host, tiny, clip, train_mapping=True, learning_rate=0.05).args[2]
    module = sys.modules[host.nodes.NADAPickSnapshot.__module__]
    last = snapshots.generator(snapshots.last)
    expected = nada.generate_samples(last, 2, truncation_psi=module.PSI, batch=1)
    with torch.inference_mode():
        *_, (_, images) = module.frames_of(snapshots, 2)
    assert torch.equal(images, expected)
    assert not torch.allclose(images, nada.generate(last, nada.sample_latents(tiny, 2, truncation_psi=module.PSI)))
    both = host.nodes.NADALatentWalk.execute(last, 0, 2, 2, 0.7, 64, 24.0, base=tiny).args[0]
    alone = host.nodes.NADALatentWalk.execute(tiny, 0, 2, 2, 0.7, 64, 24.0).args[0]
    assert torch.equal(both[:, :, :64], alone)
