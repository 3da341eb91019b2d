"""Tables of the documentation: a command measures every figure, and pages say what was measured."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.scripts import importable

from nada import AdaptConfig, adapt, load_generator
from nada.demo import ENCODERS
from nada.errors import BusyError
from nada.files import locked
from nada.photo.encoders.loading import load_encoder
from nada.seeding import seeded

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TABLE = re.compile(r"(?:^\|.*\n?)+", re.MULTILINE)
# A number alone, with or without a unit; or with a unit, and then more words.
FIGURE = re.compile(r"[-+]?\d[\d.,]*(?:$| ?(?:%|[a-zA-Z]{1,2})(?:$|[,;:/ ]))")
ONE_FIGURE = re.compile(r"\d[\d.]* (s|MB)")
ON_PAPER = re.compile(r"^#+ .*\bon paper$.*?(?=^#|\Z)", re.MULTILINE | re.DOTALL)  # a section of arithmetic
EQUAL = (
    "nine matrix products",
    "all convolutions",
    "channels last",
    "one operation:",
    "of its own:",
    "to-RGB",
    "modulated",
    "grouped",
    "blur",
    "transposed",
    "as the",
    "Winograd",
)


@pytest.fixture
def tables():
    """Import the script that measures tables."""
    with importable(ROOT / "benchmarks"):
        import tables

        yield tables


@pytest.fixture
def pages(tables):
    import pages

    return pages


def with_figures(page: str) -> Iterator[str]:
    """Tables with figures on a page, except in sections whose heading says that they are computed on paper."""
    for table in TABLE.findall(ON_PAPER.sub("", page)):
        rows = [[cell.strip() for cell in row.strip("| ").split("|")] for row in table.splitlines()[2:]]
        if any(FIGURE.match(cell) for row in rows for cell in row):
            yield table.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_table_with_figures_can_be_measured_again(tables, pages, page):
    text = page.read_text("utf-8")
    placed = pages.tables_of(text)
    for table in with_figures(text):
        assert any(table in shown for shown in placed.values()), (
            f"no command measures this table; put it between the marks of one of benchmarks/tables.py:\n{table}"
        )
    of_this_page = {name for name, table in tables.TABLES.items() if ROOT / table.page == page}
    assert placed.keys() <= of_this_page
    assert len(re.findall("<!-- (?:table|end)", text)) == 2 * len(placed)


def test_a_table_without_a_command_is_noticed(pages):
    measured = pages.with_table("# Page", "speed/x", "| a | b |\n|---|---|\n| x | 1.5 |")
    (found,) = with_figures(f"{measured}\n\n| name | what |\n|---|---|\n| x | at most 5 |\n")
    assert found in pages.tables_of(measured)["speed/x"]
    assert list(with_figures("| name | what |\n|---|---|\n| x | 26 s, plus 11 s to start |\n"))
    table = "| name | s |\n|---|---|\n| x | -0.2 s |\n"
    assert list(with_figures(f"# Cost on paper, measured\n\n{table}"))
    assert not list(with_figures(f"## Cost, on paper\n\n{table}"))
    assert list(with_figures(f"## Cost, on paper\n\n## Cost\n\n{table}"))


def rows_of(table: str) -> list[list[str]]:
    """Cells of the rows of a table in Markdown, without its heading."""
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in table.splitlines()[2:]]


def written_by_hand(table: str, names: Collection[str]) -> list[str]:
    """Names of rows that the command does not make."""
    return [name for name, *_ in rows_of(table) if name not in names]


def test_rows_between_marks_are_rows_of_the_command(tables, pages, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])  # the script adds to it
    import projector
    import speed_threads
    import speed_ways

    ways = {f"speed/ways/{name}": name for name in (speed_ways.KEPT, speed_ways.NOT_KEPT, speed_ways.WITHOUT_AVX512)}
    names = {table: [way.name for way in speed_ways.WAYS if way.table == name] for table, name in ways.items()}
    names |= {
        speed_threads.NAME: speed_threads.ROWS,
        "photos/projector": [way.title for way in projector.ways(1)],
    }
    for name, rows in names.items():
        placed = pages.tables_of((ROOT / tables.TABLES[name].page).read_text("utf-8"))[name]
        assert not written_by_hand(placed, rows), f"no command makes these rows of {name}"
        if name in ways:
            figures = [cell for _, *cells in rows_of(placed) for cell in cells]
            assert [cell for cell in figures if not ONE_FIGURE.fullmatch(cell)] == []


def test_a_row_that_no_command_makes_is_noticed():
    assert written_by_hand("| way | s |\n|---|---|\n| a | 1 s |\n| b | 2-3 s |", ["a", "c"]) == ["b"]


def test_pages_say_what_was_measured(tables, pages):
    import speed

    figures = json.loads((ROOT / "docs" / "speed.json").read_text("utf-8"))
    placed = pages.tables_of((ROOT / "docs" / "speed.md").read_text("utf-8"))
    for name, found in figures.items():
        assert placed[name] == speed.as_table(name, found).strip()


def test_a_table_is_put_in_its_place_or_at_the_end(pages):
    page = pages.with_table(pages.with_table("# Page\n\nText.\n", "a", "| 1 |"), "b", "| 2 |")
    assert pages.with_table(page, "a", "| 1 |") == page
    other = pages.with_table(page, "a", "| 3 |")
    assert other == page.replace("| 1 |", "| 3 |")
    assert pages.tables_of(other) == {"a": "| 3 |", "b": "| 2 |"}


def test_what_was_measured_is_not_measured_again(pages, tmp_path):
    options = pages.Options(tmp_path / "results")
    assert [*options.kept("group/a", lambda: {"x": 1})] == [{"x": 1}]
    assert [*options.kept("group/a", lambda: pytest.fail("measured again"))] == []
    assert options.found("group/a") == {"x": 1}
    assert options.found("group/b") is None


def test_what_another_command_measures_is_left_to_it(pages, tmp_path):
    options = pages.Options(tmp_path / "results")
    options.file("group/b").parent.mkdir(parents=True)
    with locked(options.file("group/b").with_suffix(".lock")):
        assert [*options.kept("group/b", lambda: pytest.fail("measured twice at the same time"))] == []
    assert [*options.kept("group/b", lambda: 1)] == [1]
    assert [path.name for path in options.file("group/b").parent.iterdir()] == ["b.json"]


def test_a_measurement_that_finds_something_busy_is_no_other_command(pages, tmp_path):
    def measure():
        raise BusyError("another command works here")

    options = pages.Options(tmp_path / "results")
    with pytest.raises(BusyError, match="works here"):
        [*options.kept("group/a", measure)]
    assert options.found("group/a") is None


def test_images_that_are_kept_are_measured_without_another_training(pages, tmp_path):
    from paper_bench import Bench, Run

    trainings = []

    def results(run, reference):
        trainings.append(run)
        for number, iteration in enumerate((25, 100)):
            yield iteration, torch.full((2, 3, 8, 8), 0.1 * number)

    bench = object.__new__(Bench)
    bench.makers, bench.results = "models 2", results
    bench.judge_images = lambda target, images: {"mean": images.mean().item()}
    run, shown = (Run("photo", "sketch", ((name, 1),), (25, 100)) for name in ("seed", "shown"))
    first, again = (bench.measure(run, None, None, tmp_path) for _ in range(2))
    assert first == again
    assert list(again["moments"]) == ["25", "100"]
    assert trainings == [run]
    bench.makers = "other models 2"
    bench.measure(run, None, None, tmp_path)
    bench.measure(run, None, None, None)
    assert trainings == [run] * 3
    bench.measure(shown, None, None, tmp_path)
    assert len([*tmp_path.iterdir()]) == 2, "what is made without a training is not kept"


def test_each_change_that_was_looked_at_has_a_letter_for_each_picture(pages, tmp_path):
    import by_eye

    letters = by_eye.looked_at()
    assert letters.keys() <= {change for _, change, _ in by_eye.planned(pages.Options(tmp_path))}
    assert {len(seen) for seen in letters.values()} == {by_eye.PICTURES}
    assert {*"".join(letters.values())} == {"y", "n"}
    cells = by_eye.cells([True, True, False, False], [True, False, True, True])
    assert cells == ["4", "0.75", "0.50", "0.25", "0.25", "0.50"]


def test_runs_one_after_another_share_the_frozen_side(pages, tiny, clip):
    from paper_bench import RecordedSide

    side, images, frozen = RecordedSide(), [], tiny.synthesis.forward
    configs = [AdaptConfig(source="photo", target=target, iterations=3, views=1) for target in ("sketch", "pixel art")]
    alone = [[float(step.loss) for step in adapt(tiny, clip, config)] for config in configs]
    runs = [adapt(tiny, clip, config) for config in configs]
    tiny.synthesis.forward = lambda *args, **options: images.append(1) or frozen(*args, **options)
    for run, losses in zip(runs, alone, strict=True):
        run.frozen_side = side
        assert [float(step.loss) for step in run] == losses
    assert len(images) == 3, "once an iteration, not once a run"


@pytest.mark.parametrize("change", [{"divide": 9}, {"device": "cuda"}, {"threads": 2}, {"turns": 1}], ids=str)
@pytest.mark.parametrize("name", ["speed/ways/kept", "speed/parts/layers all, 256 px", "photos/speed, 256 px"])
def test_results_of_trials_and_other_settings_are_kept_apart(tables, pages, tmp_path, monkeypatch, name, change):
    def files(options):
        """Paths of all results of the table."""
        found = set()
        monkeypatch.setattr(pages.Options, "kept", lambda options, name, make: found.add(options.file(name)) or [])
        assert [*tables.TABLES[name].measure(options)] == []
        return found

    usual = files(pages.Options(tmp_path))
    assert usual == files(pages.Options(tmp_path))
    assert usual.isdisjoint(files(pages.Options(tmp_path, **change)))


def test_a_trial_is_not_shown_later(tables, pages, tmp_path):
    trial, usual = pages.Options(tmp_path, divide=9), pages.Options(tmp_path)
    assert [*trial.kept("photos", lambda: "| a trial |")] == ["| a trial |"]
    assert usual.found("photos") is None
    folders = [tables.photos("ways", options)["--out"] for options in (trial, usual)]
    assert folders[0] != folders[1], "the chunks of a trial"


def test_a_key_is_that_of_files_and_settings(pages, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"first")
    first = pages.key_of(1, file, {"count": 2})
    assert first == pages.key_of(1, file, {"count": 2})
    assert len({first, pages.key_of(2, file, {"count": 2}), pages.key_of(1, file, {"count": 3})}) == 3
    file.write_bytes(b"second")
    assert pages.key_of(1, file, {"count": 2}) != first


def test_photos_are_drawn_from_latents_that_train_no_encoder(monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])  # the script adds to it
    with importable(ROOT / "benchmarks", ROOT / "tools" / "demo_world"):
        import photos
        import train_encoder

        def asked(seed):
            """Keep the seed of a batch, which is the first thing that it needs, and stop there."""
            seeds.append(seed)
            raise StopIteration

        def marks(z):
            """A number for each latent, which no two latents share by chance."""
            return z[:, :2].contiguous().view(torch.int64)[:, 0]

        monkeypatch.setattr(train_encoder, "seeded", asked)
        width = load_generator("demo").config.z_dim
        tested = marks(photos.latents(200, width))
        for name in ENCODERS:
            seeds, recipe = [], load_encoder(name).recipe
            training = SimpleNamespace(args=SimpleNamespace(**recipe))
            for step in range(recipe["steps"]):
                with suppress(StopIteration):
                    train_encoder.Training.batch(training, step)
            assert len(set(seeds)) == recipe["steps"]
            batches = [marks(torch.randn(recipe["batch"], width, generator=seeded(seed))) for seed in seeds]
            assert torch.isin(batches[-1], torch.cat(batches)).all()
            assert not torch.isin(tested, torch.cat(batches)).any(), name


def test_patterns_choose_tables_and_wrong_ones_are_refused(tables):
    assert [table.name for table in tables.chosen(["styles", "speed/counted/*"])] == [
        "styles",
        *(f"speed/counted/{size} px" for size in (256, 512, 1024)),
    ]
    with pytest.raises(ValueError, match="no table is called stiles"):
        tables.chosen(["styles", "stiles"])


def test_a_trial_is_never_written_to_a_page(tables, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tables.py", "styles", "--divide", "9", "--write"])
    with pytest.raises(SystemExit):
        tables.main()
    assert "leave out --write" in capsys.readouterr().err


@pytest.mark.slow
def test_ways_that_are_compared_compute_the_same(tables):
    import speed_ways

    ways = [way for way in speed_ways.WAYS if any(word in way.name for word in EQUAL)]
    assert len(ways) > 10
    for way in ways:
        if "choosing" in way.name or way.returned:
            continue
        torch.manual_seed(0)
        first, second = (side() for side in way.sides(16))
        pairs = zip(first, second, strict=True) if isinstance(first, tuple) else [(first, second)]
        for a, b in pairs:
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(a.detach().abs().max())), way.name


def test_the_authors_code_with_shared_noise(pages):
    import reference

    draw = lambda styles, **options: styles[0].mean() + torch.randn(3)
    twins = ("generator_frozen", "generator_trainable")
    net = SimpleNamespace(**{name: SimpleNamespace(forward=draw) for name in twins})
    reference.share_noise(net)
    codes, random = torch.randn(2, 1, 4), torch.get_rng_state()
    frozen, trained = ([twin.forward([part]) for part in codes] for twin in vars(net).values())
    assert torch.equal(frozen[0], trained[0])
    assert not torch.allclose(frozen[0] - codes[0].mean(), frozen[1] - codes[1].mean())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("first_step", [False, True])
def test_the_authors_code_with_views_and_another_first_step(pages, first_step):
    import reference

    loss = SimpleNamespace(
        clip_directional_loss=lambda before, source, after, target: torch.stack([before, after]),
        target_direction=None,
        compute_text_direction=lambda source, target: torch.tensor([[1.0, 0.0, 0.0]]),
        get_image_features=lambda images: images.mean((2, 3)),
    )
    shown = [lambda images: images.repeat(2, 1, 1, 1).flip(3)]
    reference.change_loss(loss, shown, first_step)
    images = torch.rand(2, 3, 4, 4).requires_grad_(True)
    found = loss.clip_directional_loss(images.detach(), "photo", images, "sketch")
    if not first_step:
        assert torch.equal(found, torch.stack(2 * [images.repeat(2, 1, 1, 1).flip(3)]))
        return
    assert found.item() == 1, "nothing has changed yet"
    (gradient,) = torch.autograd.grad(found, images)
    assert gradient.isfinite().all()
    assert gradient[:, 0].mean() < gradient[:, 1:].mean(), "it leads in the direction of the text"
