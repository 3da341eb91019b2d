"""Tables of the documentation: a command measures every figure, and pages say what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.scripts import importable

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TABLE = re.compile(r"(?:^\|.*\n?)+", re.MULTILINE)
FIGURE = re.compile(r"[-+]?\d[\d.,]*( ?(%|[a-zA-Z]{1,2}))?")  # a number, with or without a unit
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
        if any(FIGURE.fullmatch(cell) for row in rows for cell in row):
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
    table = "| name | s |\n|---|---|\n| x | -0.2 s |\n"
    assert list(with_figures(f"# Cost on paper, measured\n\n{table}"))
    assert not list(with_figures(f"## Cost, on paper\n\n{table}"))
    assert list(with_figures(f"## Cost, on paper\n\n## Cost\n\n{table}"))


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
