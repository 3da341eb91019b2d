"""Less memory for the same results: batches in chunks, recomputed blocks, and failed steps without effect."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from helpers.models import alive

import nada
from nada.adapt import adapt
from nada.clip.loading import load_clip
from nada.runs.out_of_memory import log_spared, sparing
from nada.stylegan2 import GeneratorConfig
from nada.training import objective
from nada.training.config import AdaptConfig
from nada.training.pieces import in_pieces, slices

EVERY_LOSS = {"global_weight": 0.5, "norm_weight": 0.5, "angle_weight": 0.5, "patch_weight": 0.5}


@pytest.fixture
def ensemble(clip_folder):
    """Two models with weights, so that both weights matter."""
    return load_clip(f"{clip_folder}:1,{clip_folder}:0.5")


def config(**changes) -> AdaptConfig:
    defaults = {"layers": 2, "batch": 3, "select_batch": 5, "learning_rate": 0.01, "iterations": 2, "seed": 3}
    return AdaptConfig(**{"source": "photo", "target": "sketch"} | defaults | changes)


def gradients(generator):
    return {name: p.grad.clone() for name, p in generator.named_parameters() if p.grad is not None}


def second_step(generator, clip, settings, stepped, pieces=1, recompute=False):
    """Losses, layers and gradients of a step, after one in which the generators became different."""
    run = adapt(generator, clip, settings)
    next(run)
    run.pieces, run.trained.synthesis.recompute = pieces, recompute
    step = next(run)
    return step, dict(stepped)


VIEWS, ALL = {"views": 2}, {"train_mapping": True, "train_torgb": True, "layers": "all"}
USUAL = [(EVERY_LOSS, 2, True), (VIEWS, 8, False)]
OTHERS = [
    (EVERY_LOSS, 2, False),
    (EVERY_LOSS, 8, False),
    (ALL, 2, False),
    (VIEWS, 2, False),
    (VIEWS, 2, True),
    (ALL, 8, False),
    (ALL, 2, True),
]


@pytest.mark.parametrize(
    ("changes", "pieces", "recompute"), [*USUAL, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)]
)
def test_pieces_add_up_to_the_whole(tiny, ensemble, changes, pieces, recompute, stepped):
    whole, expected = second_step(tiny, ensemble, config(**changes), stepped)
    step, found = second_step(tiny, ensemble, config(**changes), stepped, pieces, recompute)
    assert step.layers == whole.layers
    assert found.keys() == expected.keys()
    for name, loss in whole.losses.items():
        assert float(step.losses[name]) == pytest.approx(float(loss), rel=1e-4, abs=1e-6), name
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        # The gradient of a noise strength sums many large terms: its error is relative to those, not to itself.
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-4 * largest), name


def test_pieces_add_up_for_the_style_loss(tiny, ensemble):
    settings = config(style_weight=2.0, views=2, batch=2)
    pictures = torch.rand(3, 3, 32, 32) * 2 - 1
    whole, parts = (adapt(tiny, ensemble, settings, style_images=pictures) for _ in range(2))
    parts.pieces = 3
    first, again = next(whole), next(parts)
    assert float(first.losses["style"]) == pytest.approx(float(again.losses["style"]), rel=1e-4)
    for a, b in zip(first.generator.parameters(), again.generator.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(("pieces", "recompute"), [(2, False), (1, True), (3, True)])
def test_gradients_in_pieces_are_exact(tiny, pieces, recompute):
    """Float64, with a loss that compares the images with each other."""
    tiny = tiny.double()
    tiny.synthesis.requires_grad_(True)
    ws, noise = tiny.mapping(torch.randn(3, 16).double()), tiny.synthesis.sample_noise(3)
    make = lambda part: tiny.synthesis(ws[part], {name: maps[part] for name, maps in noise.items()})
    angle = lambda images: torch.nn.functional.cosine_similarity(images[0], images[1:], dim=0).square().sum()
    angle(make(slice(0, 3))).backward()
    expected = gradients(tiny)
    tiny.zero_grad()
    tiny.synthesis.recompute = recompute
    angle(in_pieces(make, 3, pieces)).backward()
    for name, gradient in gradients(tiny).items():
        assert torch.allclose(gradient, expected[name], rtol=1e-9, atol=1e-12 * float(expected[name].abs().max())), name


PLACES = ("choice", "images", "judgement", "gradient", "optimizer")


@pytest.mark.parametrize(
    ("place", "train"),
    [
        *(("gradient", "weights"), ("optimizer", "lora")),
        *(pytest.param(place, "weights", marks=pytest.mark.slow) for place in PLACES if place != "gradient"),
        *(pytest.param(place, "lora", marks=pytest.mark.slow) for place in PLACES if place != "optimizer"),
    ],
)
def test_a_step_that_fails_leaves_no_trace(tiny, ensemble, monkeypatch, place, train):
    settings = config(train=train, iterations=3)
    *_, undisturbed = adapt(tiny, ensemble, settings)
    run = adapt(tiny, ensemble, settings)
    next(run)

    def fail(*_, **__):
        raise MemoryError("no memory is left")

    with monkeypatch.context() as broken:
        if place == "choice":
            broken.setattr(run.frozen.mapping.__class__, "forward", fail)
        elif place == "images":
            broken.setattr(run.trained.synthesis.b8.conv1, "forward", fail)
        elif place == "judgement":
            broken.setattr(ensemble.models[1], "encode_image", fail)
        elif place == "gradient":
            broken.setattr(torch.Tensor, "backward", fail)
        else:
            broken.setattr(run.trainer.optimizer, "step", fail)
        with pytest.raises(MemoryError):
            next(run)
    assert run.iteration == 1
    assert not gradients(run.trained)
    *_, last = run
    assert last.iteration == 3
    assert last.generator.fingerprint() == undisturbed.generator.fingerprint()


@pytest.mark.slow
def test_memory_is_spared_until_none_is_left_to_spare(tiny, ensemble):
    run = adapt(tiny, ensemble, config(batch=3, iterations=9, views=0))
    seen = []
    while run.spare_memory():
        seen.append((run.pieces, run.trained.synthesis.recompute))
        next(run)
    assert seen == [(2, False), (4, False), (4, True)]
    assert not run.spare_memory()


def test_images_shown_at_once_are_as_few_as_a_step_had_room_for(tiny, ensemble):
    """Pictures of a run that ran out of memory must be made in chunks too."""
    run = adapt(tiny, ensemble, config(batch=4, views=2))
    counts = [run.images_at_once]
    while run.spare_memory():
        counts.append(run.images_at_once)
    assert counts == [4, 2, 1, 1, 1]


def test_pieces_take_less_memory():
    """Bytes that autograd keeps for a backward pass, counted when they are saved."""
    generator = alive(GeneratorConfig(32, (8, 8, 8, 8), 8, 8, mapping_layers=1))
    generator.synthesis.requires_grad_(True)
    ws = generator.mapping(torch.randn(4, 8))

    def kept(work) -> int:
        tensors = {}
        count = lambda t: tensors.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage()) and t
        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            result = work()
        del result
        return sum(storage.nbytes() for storage in tensors.values())

    make = lambda part: generator.synthesis(ws[part])
    whole = kept(lambda: make(slice(0, 4)))
    assert kept(lambda: in_pieces(make, 4, 4)) < 0.2 * whole
    generator.synthesis.recompute = True
    assert kept(lambda: make(slice(0, 4))) < 0.5 * whole


@pytest.mark.slow
def test_memory_does_not_grow_with_the_steps(tiny, ensemble):
    """Bytes of all tensors between two steps do not depend on layer selection."""

    def living() -> int:
        gc.collect()
        tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    sizes = []
    run = adapt(tiny, ensemble, config(iterations=8, layers="all"))
    for step in run:
        run.select_layers(2)
        if step.iteration % 2 == 0:
            sizes.append(living())
    assert len(set(sizes)) == 1


@pytest.mark.parametrize(("count", "pieces", "sizes"), [(8, 3, [2, 3, 3]), (2, 5, [1, 1]), (4, 1, [4])])
def test_parts_are_even(count, pieces, sizes):
    parts = slices(count, pieces)
    assert [part.stop - part.start for part in parts] == sizes
    assert parts[0].start == 0
    assert parts[-1].stop == count


def test_a_run_that_is_out_of_memory_continues_in_chunks(tiny, ensemble):
    def few(run):
        forward = run.trained.synthesis.forward

        def limited(ws, *rest, **options):
            if len(ws) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return forward(ws, *rest, **options)

        run.trained.synthesis.forward = limited
        return run

    settings, said = config(batch=3, iterations=3, layers="all", views=0), []
    *_, whole = adapt(tiny, ensemble, settings)
    run = few(adapt(tiny, ensemble, settings))
    *_, last = sparing(run, run, said.append)
    assert said == [
        "out of memory; continues in 2 chunks, which takes longer",
        "out of memory; continues in 4 chunks, which takes longer",
    ]
    for name, tensor in whole.generator.state_dict().items():
        assert torch.allclose(tensor, last.generator.state_dict()[name], atol=1e-4), name
    broken = few(adapt(tiny, ensemble, settings))
    broken.spare_memory = lambda: False
    with pytest.raises(torch.OutOfMemoryError):
        next(sparing(broken, broken, said.append))


def test_memory_is_given_back_in_one_way_on_all_devices(monkeypatch):
    freed = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: freed.append("mps"))
    for on_apple, expected in ((True, ["cuda", "mps"]), (False, ["cuda"])):
        freed.clear()
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda on_apple=on_apple: on_apple)
        log_spared("out of memory")
        assert freed == expected
    library = Path(nada.__file__).parent
    places = [
        path.relative_to(library).as_posix()
        for path in library.rglob("*.py")
        if "empty_cache" in path.read_text("utf-8")
    ]
    assert places == ["latents/rendering.py"]


def test_each_chunk_enters_half_precision_itself(tiny, ensemble, monkeypatch):
    """For the gradient a chunk is computed again later; PyTorch restores the precision then only on some devices."""
    goal = adapt(tiny, ensemble, config(batch=2)).objective
    goal.bfloat16 = True
    monkeypatch.setattr(objective, "half_precision", lambda device: torch.autocast("cpu", torch.bfloat16))
    monkeypatch.setattr(objective, "in_pieces", lambda function, count, pieces: function)
    chunk = goal._in_pieces(lambda images: torch.is_autocast_enabled("cpu"), torch.zeros(2, 3, 8, 8), 2)
    assert chunk(slice(0, 1))
