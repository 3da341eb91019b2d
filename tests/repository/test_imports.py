"""Rules for imports: arrows point one way, imports inside the pack are relative, and only nodes/ knows ComfyUI."""

from __future__ import annotations

import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import nada
from tools import architecture
from tools.imports import ROOT, arrows, imports, modules, room_of


class Room(NamedTuple):
    """A folder, or a module on the ground floor: it may import itself and all rooms on lower floors."""

    floor: int
    packages: frozenset[str] = frozenset()
    """Packages that it may use besides the standard library."""


def room(floor: int, packages: str = "") -> Room:
    return Room(floor, frozenset(packages.split()))


ROOMS = {  # one row per folder, from the top down
    "__init__": room(13),
    "nodes": room(12, "torch numpy PIL comfy_api"),
    "nada/__main__": room(12),
    "nada/cli": room(11, "torch tqdm"),
    "nada/__init__": room(10),
    "nada/sweep": room(10, "torch yaml ray"),
    "nada/runs": room(9, "torch PIL"),
    "nada/photo/detectors": room(9, "torch cv2"),
    "nada/adapt": room(8, "torch"),
    "nada/text_edits": room(8, "torch"),
    "nada/measure": room(8, "torch"),
    "nada/photo": room(8, "torch PIL"),
    "nada/photo/encoders": room(7, "torch"),
    "nada/training": room(7, "torch"),
    "nada/clip": room(6, "torch open_clip"),
    "nada/published": room(5, "huggingface_hub"),
    "nada/styles": room(6, "torch PIL"),
    "nada/latents": room(5, "torch"),
    "nada/lpips": room(5, "torch"),
    "nada/checkpoint": room(4, "torch safetensors"),
    "nada/stylegan2": room(3, "torch"),
    "nada/layer_freeze": room(3, "torch"),
    "nada/demo": room(3, "torch"),
    "nada/generators": room(2, "torch"),
    "nada/stylegan2/ops": room(2, "torch triton"),
    "nada/pictures": room(2, "torch numpy PIL"),
    "nada/demo/styles": room(2, "torch"),
    "nada/settings": room(2),
    "nada/files": room(2, "platformdirs filelock"),
    "nada/seeding": room(2, "torch numpy"),
    "nada/losses": room(1, "torch"),
    "nada/demo/drawing": room(1, "torch"),
    "nada/errors": room(1),
}
HOST = {"comfy", "comfy_execution", "folder_paths", "server", "nodes", "execution"}  # ComfyUI, except for its node API
DISTRIBUTIONS = {  # distributions with other names than their packages
    "PIL": "pillow",
    "open_clip": "open_clip_torch",
    "cv2": "opencv-python-headless",
    "yaml": "pyyaml",
}
EXTRAS = ("photo", "ray")
BROUGHT_ALONG = {"comfy_api", "triton"}  # installed with ComfyUI, and with PyTorch on the systems that have it
DANGEROUS = {"pickle", "_pickle", "dill", "marshal", "shelve", "subprocess", "ctypes"}


def upward(path: Path, root: Path = ROOT) -> list[str]:
    """Imports of a module from rooms that are not below its own, each as a sentence."""
    here = room_of(path, root)
    rooms = {room_of(root / found.target, root) for found in imports(path, root) if found.relative} - {here}
    return [
        f"{path.relative_to(root)}: {here} must not import {there}"
        for there in sorted(rooms)
        if ROOMS[there].floor >= ROOMS[here].floor
    ]


def foreign(path: Path, root: Path = ROOT) -> list[str]:
    """Packages that a module must not use, each as a sentence."""
    here = room_of(path, root)
    allowed = sys.stdlib_module_names | ROOMS[here].packages | (HOST if path == root / "nodes" / "host.py" else set())
    used = {found.target.split(".")[0] for found in imports(path, root) if not found.relative}
    return [
        f"{path.relative_to(root)} must not use {package}" for package in sorted((used - allowed) | used & DANGEROUS)
    ]


def test_arrows_point_down():
    assert not [sentence for path in modules() for sentence in upward(path)]


def test_the_picture_of_rooms_is_up_to_date():
    assert architecture.PICTURE.read_text("utf-8") == architecture.draw(arrows()), "run python -m tools.architecture"


def test_every_room_has_its_place_on_the_api_pages():
    listed = re.findall(r"^::: (.+)$", (ROOT / "docs" / "api" / "rooms.md").read_text("utf-8"), re.MULTILINE)
    rooms = [name for name in ROOMS if name.startswith("nada/") and not name.endswith("__")]
    assert listed == [name.replace("/", ".") for name in rooms]


def test_the_picture_leaves_out_only_what_follows():
    found = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}
    assert architecture.floors_of(found) == {"d": 0, "c": 1, "e": 1, "b": 2, "a": 3}
    assert architecture.reduced(found) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}
    with pytest.raises(ValueError, match="circle: \\['a', 'b'\\]"):
        architecture.floors_of({"a": {"b"}, "b": {"a", "c"}, "c": set()})


def test_no_circles_among_scripts():
    for folder in ("benchmarks", "tools/demo_world", "tools/workflows"):
        scripts = {path.stem: path for path in (ROOT / folder).glob("*.py")}
        arrows = {name: {found.target for found in imports(path)} & {*scripts} for name, path in scripts.items()}
        TopologicalSorter(arrows).prepare()  # raises for a cycle


def test_packages():
    """`nada` is forbidden too: imports inside the pack are relative, as ComfyUI does not put it on sys.path."""
    assert not [sentence for path in modules() for sentence in foreign(path)]


def test_every_package_is_declared():
    """Packages installed through others may be missing one day, and packages that nothing imports are not needed."""
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    used = {package for room in ROOMS.values() for package in room.packages} - BROUGHT_ALONG
    optional = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    declared = {re.match(r"[\w-]+", line)[0] for line in [*project["dependencies"], *optional]}
    assert declared == {DISTRIBUTIONS.get(package, package) for package in used}


def test_rooms_use_the_packages_that_they_list():
    used: dict[str, set[str]] = {}
    for path in modules():
        used.setdefault(room_of(path), set()).update(found.target.split(".")[0] for found in imports(path))
    assert not {name: unused for name, row in ROOMS.items() if (unused := row.packages - used[name])}


def test_nothing_slow_at_import():
    for path in modules():
        early = {found.target.split(".")[0] for found in imports(path) if found.at_import and not found.relative}
        assert not early & {"open_clip", "cv2", "torchvision", "transformers", "huggingface_hub", "ray"}, path


def test_every_room_exists_and_the_ground_floor_stays_small():
    assert {room_of(path) for path in modules()} == ROOMS.keys()
    assert len(list((ROOT / "nada").glob("*.py"))) <= 8


def test_nodes_use_public_names():
    for path in (ROOT / "nodes").rglob("*.py"):
        for found in imports(path):
            if found.relative and found.target == "nada":
                assert set(found.names) <= set(nada.__all__), f"{path.name} imports {found.names}"


@pytest.mark.parametrize(
    ("name", "source", "check"),
    [
        ("nada/losses/far.py", "from ..clip import load_clip", upward),
        ("nada/stylegan2/up.py", "from ..adapt import adapt", upward),
        ("nada/files.py", "from .cli import main", upward),
        ("nada/adapt.py", "from ..nodes import host", upward),
        ("nada/measure/sideways.py", "from ..text_edits import mapper", upward),
        ("nada/runs/host.py", "import comfy.utils", foreign),
        ("nada/runs/own.py", "import nada.clip", foreign),
        ("nada/checkpoint/bad.py", "def f():\n    import pickle", foreign),
        ("nodes/load.py", "import folder_paths", foreign),
    ],
)
def test_the_rules_catch_what_they_forbid(tmp_path, name, source, check):
    """A rule that never fails checks nothing."""
    for room in ROOMS:
        if (ROOT / room).is_dir():
            (tmp_path / room).mkdir(parents=True, exist_ok=True)
    path = tmp_path / name
    path.write_text(source)
    assert check(path, tmp_path)
