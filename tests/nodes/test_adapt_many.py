"""NADA Adapt Many: one target per line, trained in lock-step; the next run trains only new lines."""

from __future__ import annotations

import gc
from weakref import WeakSet

import pytest
import torch
from helpers.stub_comfyui import Cancelled, OldCancelled

from nada.adapt import Adaptation
from nada.errors import NadaError, UsageError
from nada.styles.files import load_style

OPTIONS = {"source": "photo", "iterations": 4, "batch": 8, "learning_rate": 0.0, "preview_images": 2}


@pytest.fixture
def many(host, tiny, clip):
    def run(targets, preview_every=2, **options):
        with torch.inference_mode():  # as ComfyUI runs every node
            return host.nodes.NADAAdaptMany.execute(
                tiny, clip, targets, preview_every=preview_every, **OPTIONS | options
            ).args

    return run


@pytest.fixture
def trained(monkeypatch):
    steps, train_step = [], Adaptation.train_step
    monkeypatch.setattr(Adaptation, "train_step", lambda run: steps.append(run.config.target) or train_step(run))
    return steps


def test_each_line_gives_a_style_and_only_new_lines_train(many, trained, host):
    sheet, images, styles = many("sketch\n\nglass\n")
    assert [style.name for style in styles] == ["sketch", "glass"]
    assert images.shape[0] == 4
    assert sheet.shape[2] > sheet.shape[1], "a column each for the original and two targets"
    assert trained == ["sketch", "glass"] * 4
    assert [value for value, picture in host.progress if picture] == [3, 4, 7, 8, 8]
    trained.clear()
    again = many("glass\nchalk\nsketch")
    assert trained == ["chalk"] * 4
    assert [style.name for style in again[2]] == ["glass", "chalk", "sketch"]
    assert torch.equal(again[1][:2], images[2:]), "in the order of the lines"
    assert torch.equal(again[1][4:], images[:2])


@pytest.mark.slow
def test_it_is_what_the_single_training_gives(many, host, tiny, clip):
    styles = many("sketch\nglass")[2]
    alone = host.nodes.NADATextAdapt.execute(tiny, clip, target="glass", preview_every=0, **OPTIONS).args[0]
    found = host.nodes.NADAApplyStyle.execute(tiny, styles[1], 1.0).args[0]
    for name, tensor in alone.state_dict().items():
        assert torch.allclose(tensor, found.state_dict()[name], atol=2e-3), name


@pytest.mark.parametrize("kind", [Cancelled, pytest.param(OldCancelled, marks=pytest.mark.slow)])
def test_cancel_keeps_all_targets(many, trained, host, monkeypatch, kind):
    monkeypatch.setattr(host.nodes.host, "Cancelled", kind)
    host.cancelled, host.cancel_after = kind, 5
    with pytest.raises(kind):
        many("sketch\nglass")
    assert len(trained) == 6
    assert host.texts[-1] == "cancelled; the next run continues from there"
    host.cancel_after = None
    trained.clear()
    many("sketch\nglass")
    assert sorted(trained) == ["glass", "sketch"]


def test_a_failure_names_the_line_and_keeps_the_others(many, trained, host):
    with pytest.raises(NadaError, match=r"the others are trained: photo: .*mean the same.*Change or remove"):
        many("photo\nsketch")
    trained.clear()
    assert [style.name for style in many("sketch")[2]] == ["sketch"]
    assert not trained


def test_no_targets_are_refused(many, host):
    check = host.nodes.NADAAdaptMany.validate_inputs
    assert "no targets" in check(" \n ")
    assert check("sketch") is True
    assert check() is True
    with pytest.raises(UsageError, match="no targets"):
        many("\n")


def test_load_style_lists_the_styles_and_a_page_shows_them(many, host):
    many("sketch", preview_every=0)
    (name,) = [name for name in host.nodes.host.run_styles() if "adapt_many" in name]
    assert load_style(host.nodes.host.file_path(host.nodes.host.STYLES, name)).name == "sketch"
    assert (host.nodes.host.runs_folder() / "adapt_many" / "index.html").is_file()


def test_targets_that_do_not_fit_together_are_dropped_before_each_trains_alone(many, monkeypatch):
    """Only one run fits into memory at a time, whether it is at work or merely kept by someone."""
    runs, init, train_step = WeakSet(), Adaptation.__init__, Adaptation.train_step

    def train_step_alone(run):
        gc.collect()
        if len(runs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_step(run)

    monkeypatch.setattr(Adaptation, "__init__", lambda run, *a, **o: runs.add(run) or init(run, *a, **o))
    monkeypatch.setattr(Adaptation, "train_step", train_step_alone)
    assert len(many("sketch\nfox\npig")[2]) == 3


def test_states_of_cancelled_targets_are_limited(many, host, monkeypatch):
    """The finished ones stay, and those that this run continues."""
    many("sketch")
    monkeypatch.setattr(host.nodes.adapt_many, "MAX_BYTES", 0)
    for target in ("fox", "pig", "cat"):
        host.cancel_after = len(host.progress) + 2
        with pytest.raises(Cancelled):
            many(target)
        host.cancel_after = None
    found = {path.name[13:] for path in (host.nodes.host.runs_folder() / "adapt_many" / "jobs").iterdir()}
    assert found == {"photo_to_sketch", "photo_to_cat"}


def test_a_folder_that_cannot_be_written_is_a_sentence(many, host):
    (host.folder / "models").mkdir(parents=True, exist_ok=True)
    (host.folder / "models" / "stylegan_runs").write_text("a file")
    with pytest.raises(NadaError, match="stylegan_runs"):
        many("sketch")
