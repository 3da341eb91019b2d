"""The number of CPU threads: one for small models, what the user asked for otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nada import AdaptConfig, adapt, generate, sample_latents
from nada.clip.models import ClipModel
from nada.errors import UsageError
from nada.generators import threads
from nada.generators.threads import suited_threads, use_threads
from nada.runs.folder import RunFolder
from nada.runs.kept_run import KeptRun

LARGE = nn.Linear(4000, 4000)


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    use_threads(None)
    torch.set_num_threads(2)
    yield
    use_threads(None)
    torch.set_num_threads(before)


@pytest.fixture
def counts(small, monkeypatch):
    """The thread counts at which the small generator's synthesis network ran."""
    network = type(small.synthesis)
    seen, forward = [], network.forward

    def watched(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return forward(*args, **kwargs)

    monkeypatch.setattr(network, "forward", watched)
    return seen


@pytest.mark.parametrize(("models", "count"), [((nn.Linear(2, 2),), 1), ((nn.Linear(2, 2), LARGE), 2), ((LARGE,), 2)])
def test_one_thread_if_all_models_are_small(models, count):
    with suited_threads(*models):
        assert torch.get_num_threads() == count
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), suited_threads(*models):
        raise KeyError
    assert torch.get_num_threads() == 2


def test_what_the_user_asked_for_is_never_overridden():
    use_threads(3)
    with suited_threads(nn.Linear(2, 2)):
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize("count", [0, -1, 1025, 10**20])
def test_impossible_numbers_are_refused(count):
    with pytest.raises(UsageError, match=r"must be in 1\.\.1024"):
        use_threads(count)
    assert (torch.get_num_threads(), threads.asked) == (2, None)


def test_steps_and_pictures_of_small_models_take_one_thread(small, clip, counts):
    next(adapt(small, clip, AdaptConfig("photo", "sketch", iterations=1, batch=2)))
    generate(small, sample_latents(small, 1))
    assert set(counts) == {1}
    assert torch.get_num_threads() == 2


def test_snapshots_of_small_models_take_one_thread_too(small, clip, tmp_path, monkeypatch):
    """Work between the iterations waits for a second thread as long as an iteration does."""
    seen, encode = [], ClipModel.encode_image

    def watched(model, images):
        seen.append(torch.get_num_threads())
        return encode(model, images)

    monkeypatch.setattr(ClipModel, "encode_image", watched)
    config = AdaptConfig("photo", "sketch", iterations=2, batch=1)
    iterations = len(list(adapt(small, clip, config)))
    alone = len(seen)
    list(KeptRun(RunFolder(tmp_path), small, clip, config, moments=iterations))
    assert len(seen) > 2 * alone, "no snapshot looked at images"
    assert {*seen} == {1}
    assert torch.get_num_threads() == 2
