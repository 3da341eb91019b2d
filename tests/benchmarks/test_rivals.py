"""The rivals' trainer, measures, plan and page on tiny networks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.models import alive
from PIL import Image
from torch import Tensor

from benchmarks.rivals import measures, methods, one_image, page, truth
from benchmarks.rivals.__main__ import main, show_plan
from benchmarks.rivals.methods import METHODS
from benchmarks.rivals.runs import TASKS, Bench, Run, left_to_do, planned
from benchmarks.rivals.trainer import Config, FewShot, Subspace, features_of, train_discriminator
from nada.checkpoint.discriminators import save_discriminator
from nada.checkpoint.saving import save_generator
from nada.photo.encoders.small import SmallEncoder, SmallEncoderConfig, save_small_encoder
from nada.photo.project import ProjectConfig
from nada.stylegan2 import Generator, GeneratorConfig
from nada.stylegan2.discriminator import Discriminator, DiscriminatorConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tiny() -> Generator:
    return alive(GeneratorConfig(16, (8, 8, 6), z_dim=6, w_dim=6, mapping_layers=1))


@pytest.fixture
def discriminator() -> Discriminator:
    return Discriminator(DiscriminatorConfig(16, (8, 8, 6)))


def training(tiny, discriminator, name: str, iterations: int = 4, **changes) -> FewShot:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(7)) * 2 - 1
    config = Config(iterations=iterations, batch=2, fisher_samples=3, **changes)
    codes = torch.randn(2, tiny.num_ws, 6, generator=torch.Generator().manual_seed(8))
    return FewShot(tiny, discriminator, images, METHODS[name], config, codes if METHODS[name].subspace else None)


def state(network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(before: dict[str, Tensor], network) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("TGAN", "RSSA") else [pytest.mark.slow]) for name in METHODS]
)
def test_every_method_trains_and_repeats(tiny, discriminator, name):
    before = tiny.fingerprint(), state(discriminator)
    runs = [training(tiny, discriminator, name) for _ in range(2)]
    first, second = ([*run] for run in runs)
    assert first == second
    assert len(first) == 4
    assert all(torch.isfinite(torch.tensor([*found.values()])).all() for found in first)
    assert (tiny.fingerprint(), changed(before[1], discriminator)) == (before[0], set())
    images = [run.average(torch.ones(1, 6)) for run in runs]
    assert torch.equal(*images)
    assert not torch.equal(images[0], tiny.synthesis(tiny.mapping(torch.ones(1, 6))))


@pytest.mark.slow
def test_what_each_method_adds(tiny, discriminator):
    terms = {name: {*training(tiny, discriminator, name).step()} for name in METHODS}
    plain = {"discriminator", "generator", "r1", "path"}
    assert terms["TGAN"] == terms["FreezeD"] == terms["TGAN+ADA"] == plain
    assert terms["MineGAN"] == plain - {"path"}, "no path length while the generator rests"
    assert terms["EWC"] == plain | {"ewc"}
    assert terms["CDC"] == plain | {"distance"}
    assert terms["RSSA"] == plain | {"self", "disturbance"}


def test_freezed_keeps_the_blocks_nearest_to_the_image(tiny, discriminator):
    run = training(tiny, discriminator, "FreezeD")
    before = state(run.discriminator)
    run.step()
    found = {name.split(".")[0] for name in changed(before, run.discriminator)}
    assert found == {"b4"}
    run = training(tiny, discriminator, "TGAN")
    before = state(run.discriminator)
    run.step()
    assert {name.split(".")[0] for name in changed(before, run.discriminator)} == {"b16", "b8", "b4"}


def test_minegan_trains_the_miner_alone_at_first(tiny, discriminator):
    run = training(tiny, discriminator, "MineGAN", iterations=5)
    generator, miner = state(run.trained.generator), state(run.trained.miner)
    run.step()
    assert not changed(generator, run.trained.generator)
    assert changed(miner, run.trained.miner) >= {"codes.0.weight", "codes.2.weight", "seed", "maps.4.weight"}
    list(run)
    moved = changed(generator, run.trained.generator)
    assert "synthesis.b16.conv1.weight" in moved
    assert "synthesis.b4.const" not in moved, "the miner's map stands in its place"
    ws = torch.randn(1, tiny.num_ws, 6)
    images = run.trained.render(ws)
    with torch.no_grad():
        run.trained.generator.synthesis.b4.const.zero_()
        assert torch.equal(run.trained.render(ws), images)
        run.trained.generator.synthesis.b4.const.copy_(run.trained.miner.const())
    assert torch.allclose(run.trained.generator.synthesis(ws), images, atol=1e-6)


def test_cdc_judges_whole_images_near_anchors_only(tiny, discriminator):
    run = training(tiny, discriminator, "CDC")
    images = torch.rand(2, 3, 16, 16)
    assert run._logits(images, whole=True).shape == (2,)
    patches = run._logits(images, whole=False)
    assert patches.shape == (2, 1, 8, 8)
    assert torch.equal(patches, run.patch_head(run.discriminator.features(images)[0]))
    head = state(run.patch_head)
    run.step()  # the first step is near anchors
    assert not changed(head, run.patch_head)
    run.step()
    assert changed(head, run.patch_head)


def test_the_fisher_information_is_that_of_the_generators_loss(tiny, discriminator):
    """Computed sample by sample, and scaled to a mean of 1."""
    run = training(tiny, discriminator, "EWC")
    random = torch.Generator().manual_seed(0)
    torch.randn(3, 6, generator=random)  # the anchors
    parameters = [*run.trained.generator.parameters()]
    totals = [torch.zeros_like(p) for p in parameters]
    for _ in range(3):
        image = run.trained.generator.synthesis(run.trained.generator.mapping(torch.randn(1, 6, generator=random)))
        loss = torch.log1p(torch.exp(-run.discriminator(image))).mean()
        for total, slope in zip(totals, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            total += 0 if slope is None else slope**2
    mean = torch.cat([t.flatten() for t in totals]).mean()
    for found, total in zip(run.fisher, totals, strict=True):
        assert torch.allclose(found, total / mean, rtol=1e-3, atol=1e-6)


def test_features_are_those_that_leave_each_convolution(tiny):
    shapes = [tuple(f.shape) for f in features_of(tiny, tiny.mapping(torch.zeros(2, 6)))]
    assert shapes == [(2, 8, 4, 4), (2, 8, 8, 8), (2, 8, 8, 8), (2, 6, 16, 16), (2, 6, 16, 16)]


@pytest.mark.slow
def test_a_discriminator_learns_its_own_domain(tiny, discriminator):
    images = torch.rand(8, 3, 16, 16) * 2 - 1
    found = [*train_discriminator(tiny, discriminator, images, 40, Config(batch=4))]
    assert sum(found[-5:]) < sum(found[:5])


# RSSA's subspace, and methods that learn from one image


def test_rssa_draws_codes_towards_the_span_of_the_given_ones():
    codes, ws = torch.randn(3, 12, 8, dtype=torch.float64), torch.randn(2, 12, 8, dtype=torch.float64)
    subspace = Subspace(codes)
    found = subspace(ws)
    shares = [0.0, 0.05, 0.05, 0.05, 0.05, 0.45, 0.45, 0.65, 0.65, 0.85, 0.85, 0.85]
    for n in range(2):
        for layer, share in enumerate(shares):
            span, w = codes[:, layer].T, ws[n, layer]
            inside = span @ torch.linalg.solve(span.T @ span, span.T @ w)
            expected = (1 - share) * w + share * inside * w.norm() / inside.norm()
            assert torch.allclose(found[n, layer], expected, atol=1e-6), layer
    assert Subspace(codes[:, :6])(ws[:, :6]).shape == (2, 6, 8), "generators with few codes"


def test_jojogan_keeps_the_coarse_codes_of_the_image():
    code, other = torch.zeros(1, 18, 2), torch.ones(1, 18, 2)
    assert one_image.swapped(code, other)[0, :, 0].tolist() == [0.0] * 7 + [1.0] * 11
    assert one_image.swapped(code[:, :6], other[:, :6])[0, :, 0].tolist() == [0.0] * 3 + [1.0] * 3


def test_jojogans_loss_is_the_mean_difference_of_features():
    found, wanted = ([torch.randn(1, 2, 4, 4), torch.randn(1, 3, 2, 2)] for _ in range(2))
    parts = [sum(abs(x - y) for x, y in zip(a.flatten(), b.flatten(), strict=True)) / a.numel()
             for a, b in zip(found, wanted, strict=True)]  # fmt: skip
    assert float(one_image.feature_loss(found, wanted)) == pytest.approx(float(sum(parts) / 2), rel=1e-5)


def test_difas_style_loss_is_the_relaxed_earth_movers_distance():
    found, wanted = (torch.nn.functional.normalize(torch.randn(n, m, 5), dim=2) for n, m in ((2, 3), (1, 4)))
    total = 0.0
    for tokens in found:
        rows = [min(1 - float(a @ b) for b in wanted[0]) for a in tokens]
        columns = [min(1 - float(a @ b) for a in tokens) for b in wanted[0]]
        total += max(sum(rows) / 3, sum(columns) / 4)
    assert float(one_image.relaxed_emd(found, wanted)) == pytest.approx(total / 2, rel=1e-5)


def test_difas_consistency_compares_what_changes_least():
    loss = one_image.Consistency()
    seen = []
    for _ in range(52):
        before, after = torch.randn(2, 9, 3), torch.randn(2, 9, 3)
        a, b = (codes[:, :7].reshape(2, 21) for codes in (before, after))
        seen.append((b - a).mean(0))
        change = torch.stack(seen[-50:]).mean(0).abs()
        chosen = sorted(range(21), key=lambda i: float(change[i]))[:12]  # 60 % of 21
        expected = sum(abs(float(b[n, i] - a[n, i])) for n in range(2) for i in chosen) / 42
        assert float(loss(before, after)) == pytest.approx(expected, rel=1e-4)


# Measures of results


def test_frechet_distance_of_known_gaussians():
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(20_000, 2, generator=rng, dtype=torch.float64)
    b = torch.randn(20_000, 2, generator=rng, dtype=torch.float64) * torch.tensor([2.0, 1.0]) + torch.tensor([3.0, 0])
    assert measures.frechet(a, b) == pytest.approx(9 + 1, rel=0.03)
    assert measures.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_precision_and_recall_tell_collapse_from_artefacts():
    truth_points = torch.randn(200, 2, dtype=torch.float64)
    assert measures.precision_recall(truth_points, truth_points) == (1.0, 1.0)
    collapsed = truth_points[:1] + 1e-3 * torch.randn(200, 2, dtype=torch.float64)
    precision, recall = measures.precision_recall(truth_points, collapsed)
    assert precision > 0.9
    assert recall < 0.1
    precision, _ = measures.precision_recall(truth_points, truth_points + 100)
    assert precision == 0


def test_memorised_images_are_told_from_true_ones():
    points = torch.randn(420, 3, dtype=torch.float64)
    seen, true, fresh = points[:10], points[10:210], points[210:]
    copies = seen.repeat(20, 1) + 1e-3 * torch.randn(200, 3, dtype=torch.float64)
    assert measures.memorised(true, copies, seen) == 1.0
    assert measures.memorised(true, fresh, seen) < 0.15


def test_intra_cluster_distance():
    seen = torch.tensor([[0.0, 0.0], [10.0, 0.0], [50.0, 0.0]])
    made = torch.tensor([[0.0, 0.0], [0.0, 3.0], [1.0, 0.0], [10.0, 0.0], [10.0, 4.0], [49.0, 0.0]])
    first = (3 + 1 + 10**0.5) / 3
    assert measures.intra_cluster(made, seen) == pytest.approx((first + 4) / 2)
    assert measures.intra_cluster(made[:1], seen) == 0.0


# Plan, runs and page


@pytest.fixture
def bench(tiny, discriminator, clip_folder, tmp_path, monkeypatch) -> Bench:
    save_generator(tiny, tmp_path / "g.safetensors")
    save_discriminator(discriminator, tmp_path / "d.safetensors")
    encoder = SmallEncoder(SmallEncoderConfig(16, (8, 8), 8, tiny.num_ws, 6))
    save_small_encoder(encoder, tmp_path / "e.safetensors")
    names = (str(tmp_path / "g.safetensors"), str(clip_folder), str(tmp_path / "e.safetensors"))
    return Bench(tmp_path / "runs", *names, tmp_path / "d.safetensors", 6)


def test_the_plan_has_every_row_seed_by_seed():
    runs = planned(600, 150, 3, [*truth.TARGETS])
    assert len({run.name for run in runs}) == len(runs)
    seeds = [run.seed for run in runs if run.target == "glass"]
    assert seeds == sorted(seeds)
    for target in truth.TARGETS:
        for method in methods.METHODS:
            assert sum((r.target, r.method, r.images) == (target, method, 10) for r in runs) == 3
    assert {r.images for r in runs if r.target == "glass"} == {0, 1, 10}
    assert {r.images for r in runs if r.method in ("JoJoGAN", "DiFa")} == {1}
    assert {r.images for r in runs if r.method == "CDC" and r.target == "pig"} == {1, 10, 100}
    assert {r.images for r in runs if r.method == "NADA"} == {0}
    assert sum(r.method == "frozen" for r in runs) == 3


ALIKE = {
    "frozen",
    "NADA images",
    "JoJoGAN",
    "StyleCLIP optimization",
    "StyleCLIP directions",
    "StyleCLIP mapper",
    "DiFa",
    "RSSA",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in ["TGAN", "RSSA", *TASKS]],
)
def test_a_run_leaves_a_record_and_is_not_done_again(bench, name, monkeypatch):
    monkeypatch.setattr(one_image, "PROJECTION", ProjectConfig(w_iterations=2, plus_iterations=2))
    run = Run(name, "sketch", 2 if name in METHODS else min(TASKS[name].sees, 2), 0, 2, batch=2)
    record = bench.measure(run)
    assert {"target rate", "Frechet distance", "precision", "recall", "memorised"} <= record["measures"].keys()
    assert json.loads((bench.folder / f"{run.name}.json").read_text()) == record
    assert bench.picture(run).is_file()
    assert [*left_to_do(bench, [run])] == []
    longer = Run(name, "sketch", run.images, 0, 3, batch=2)
    assert [*left_to_do(bench, [longer])] == [longer]


@pytest.mark.slow
def test_results_of_other_models_do_not_count(bench, discriminator, tmp_path):
    run = Run("frozen", "sketch", 0, 0, 0)
    bench.measure(run)
    with torch.no_grad():
        discriminator.b4.out.bias.add_(1)
    save_discriminator(discriminator, tmp_path / "d.safetensors")
    other = Bench(bench.folder, *bench.names, bench.file, bench.count)
    assert [*left_to_do(other, [run])] == [run]


def test_the_plan_tells_its_time(bench, capsys, monkeypatch):
    monkeypatch.setattr(Bench, "_time", lambda self, run: (60.0, 35.4))
    runs = planned(100, 50, 1, ["glass"])
    show_plan(bench, runs, runs, hours=1)
    text = capsys.readouterr().out
    assert "TGAN                       1 runs    100 steps    1.00 h" in text
    assert f"{len(runs)} of {len(runs)} runs are left" in text
    assert "that is more than 1 hours" in text
    monkeypatch.setattr(Bench, "_time", lambda self, run: pytest.fail("timed again"))
    show_plan(bench, runs, runs, hours=1000)


def test_a_missing_discriminator_is_trained_once(tiny, bench):
    fresh = Bench(bench.folder, *bench.names, None, 4)
    said = []
    fresh.prepare(3, said.append)
    assert fresh.discriminator.config.resolution == 16
    fresh.prepare(3, lambda text: pytest.fail("trained again"))
    assert len(said) == 1


def record(method: str, target: str, images: int, **values: float) -> dict:
    numbers = {name: 0.5 for name, _ in page.COLUMNS} | {name.replace("_", " "): v for name, v in values.items()}
    run = {"method": method, "target": target, "images": images}
    return {"run": run, "measures": numbers, "processor seconds": {"training": 10.0}, "memory MB": 100.0}


def test_the_page_marks_the_sentences():
    records = [record("NADA", "pig", 0, target_rate=0.9, variety_kept=0.8, precision=0.1)]
    records += [record(name, "pig", 10, variety_kept=0.4, memorised=0.1) for name in page.OTHERS if name != "MineGAN"]
    records += [record("MineGAN", "pig", 10, variety_kept=0.9, memorised=0.1)]
    records += [record(name, "pig", 0, target_rate=0.1) for name in page.STYLECLIP[:2]]
    records += [record(page.STYLECLIP[2], "pig", 0, target_rate=0.8)]
    text = "\n".join(page.lines(records, "the command"))
    assert "collapse. | holds in part | 4 of 5 |" in text
    assert "training set. | does not hold here | 0 of 1 |" in text
    assert "keeps variety. | holds in part | 4 of 5 |" in text
    assert "has artefacts. | holds | 5 of 5 |" in text
    assert "cannot. | holds in part | 2 of 3 |" in text
    assert "| CDC | 10 | 1 | 0.50 | 0.40 |" in text
    assert "not measured yet" in "\n".join(page.lines([], "the command"))


@pytest.mark.slow
def test_the_page_has_a_picture_of_every_method(bench, tmp_path):
    runs = [Run("frozen", "sketch", 0, 0, 0), Run("TGAN", "sketch", 10, 0, 1, batch=2), Run("TGAN", "pig", 1, 0, 1)]
    for run in runs:
        bench.measure(run)
    page.write(bench, runs, tmp_path / "rivals.md", "the command")
    text = (tmp_path / "rivals.md").read_text()
    for name in re.findall(r"\((rivals_.*?)\)", text):
        assert Image.open(tmp_path / name).width > 100
    assert "(rivals_sketch.jpg)" in text
    assert "(rivals_pig.jpg)" not in text, "a point of the curve is no row"
    with Image.open(tmp_path / "rivals_sketch.jpg") as whole, Image.open(bench.folder / "frozen-sketch-0-0.jpg") as one:
        assert whole.height == 2 * (one.height + 20)


def test_every_method_has_its_source_on_the_page():
    text = "\n".join(page.lines([], "x"))
    for method in (*METHODS.values(), *TASKS.values()):
        assert f"**{method.name}**" in text


@pytest.fixture
def command(bench, monkeypatch):
    """Run the benchmark's command with tiny models."""
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return lambda *words: main([words[0], *options(bench), *words[1:]])


def options(bench: Bench) -> list[str]:
    """Options of the benchmark's command for tiny models."""
    generator, clip, encoder = bench.names
    models = ["--generator", generator, "--clip", clip, "--encoder", encoder, "--discriminator", str(bench.file)]
    return ["--folder", str(bench.folder), "--records", str(bench.folder), "--count", "6", *models]


def test_a_missing_run_is_reported(command):
    with pytest.raises(SystemExit, match="there is no run 'x'"):
        command("run", "--only", "x")


@pytest.mark.slow
def test_the_command_does_what_is_left_in_processes_of_their_own(command, bench, tmp_path, capsys):
    words = ["run", *options(bench), "--only", "frozen-sketch-0-0"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rivals", *words], cwd=ROOT, check=True, stderr=subprocess.PIPE, text=True
    )
    assert "frozen-sketch-0-0: run 1 of 1" in done.stderr
    assert (bench.folder / "frozen-sketch-0-0.json").is_file()
    command("run", "--only", "frozen-sketch-0-0")
    assert "run 1 of 1" not in capsys.readouterr().err
    command("plan", "--only", "frozen-sketch-0-0")
    assert "0 of 1 runs are left" in capsys.readouterr().out
    command("page", "--page", str(tmp_path / "rivals.md"))
    assert "| frozen | 0 | 1 |" in (tmp_path / "rivals.md").read_text()


def test_training_pictures_of_more_begin_with_those_of_fewer():
    target = truth.TARGETS["pig"]
    few, many = (truth.seen(target, count, 1, 32) for count in (1, 3))
    assert torch.equal(many[:1], few)
    assert not torch.equal(truth.seen(target, 1, 2, 32), few)
    assert not torch.equal(truth.held_out(target, 1, 32), few)
