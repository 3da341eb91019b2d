"""The archive that the registry gets: small, calm to look at, and all that is needed to run."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest
from helpers.stub_comfyui import ROOT
from PIL import Image

import nada

NEEDED = {"__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "docs/troubleshooting.md"}
ROOMS = {"nada", "nodes", "web", "locales", "workflows"}
MAX_BYTES = 25_000_000
# What the registry's scanner looks for in texts. A dot before eval is a network's own method.
ALARMING = re.compile(
    r"(?<![.\w])(eval|exec|compile|__import__)\(|\b(subprocess|ctypes|marshal|urllib|httpx|aiohttp)\b|\brequests\."
    r"|\bos\.(system|popen|environ|getenv|startfile)|\bimport (socket|requests)|\bpickle\.load|\bnew Function\("
)
LOADS = """
import asyncio, importlib, sys, tempfile
from pathlib import Path
from helpers import stub_comfyui
stub_comfyui.ROOT = Path(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    sys.modules |= stub_comfyui.modules(stub_comfyui.Host(Path(folder)))
    stub_comfyui.load_pack()
    nodes = asyncio.run(importlib.import_module(stub_comfyui.PACK + ".nodes").NADAExtension().get_node_list())
    import nada
    assert Path(nada.__file__).is_relative_to(sys.argv[1])
    generator = nada.load_generator("demo")
    nada.load_clip("demo"), nada.judge_for(generator)
    print(*sorted(node.define_schema().node_id for node in nodes))
"""


def tracked(*options: str) -> set[str]:
    """Paths of the repository's files."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no git checkout, so nothing says which files belong to it")
    done = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, check=True, text=True)
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def shipped() -> set[str]:
    return tracked() - tracked("--cached", "--ignored", "--exclude-from=.comfyignore")


def test_archive_holds_what_runs_and_little_else(shipped):
    assert shipped >= NEEDED
    folders = {PurePosixPath(name).parts[0] for name in shipped if "/" in name}
    assert folders == ROOMS | {"docs"}
    assert {name for name in shipped if name.startswith("docs/")} == {"docs/troubleshooting.md", "docs/threat_model.md"}
    assert sum((ROOT / name).stat().st_size for name in shipped) < MAX_BYTES


def test_archive_loads_by_itself(shipped, tmp_path):
    copy = tmp_path / "stylegan-nada"
    for name in shipped:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    path = {"PYTHONPATH": f"{copy}:{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LOADS, str(copy)]
    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}


def test_nothing_in_it_alarms_the_scanner(shipped):
    for name in sorted(shipped):
        if Path(name).suffix in (".py", ".js", ".toml"):
            found = ALARMING.search((ROOT / name).read_text("utf-8"))
            assert not found, f"{name}: {found[0]}"


def test_the_publishing_tools_rules_hold():
    pytest.importorskip("ruff")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "S102,S307,E702"]
    done = subprocess.run([*command, "__init__.py", "nada", "nodes"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_node_classes_are_where_they_belong():
    """ComfyUI-Manager counts the node classes of every file that it finds, tests included."""
    for name in (name for name in tracked() if name.endswith(".py") and not name.startswith("nodes/")):
        for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
            bases = node.bases if isinstance(node, ast.ClassDef) else []
            assert not any(ast.unparse(base).endswith("ComfyNode") for base in bases), f"{name}: {node.name}"


def test_the_source_distribution_is_the_whole_repository():
    """setuptools adds nada/ and the usual files at the top by itself; MANIFEST.in names the rest."""
    rules = [line.split() for line in (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()]
    folders = {name for verb, *names in filter(None, rules) if verb == "graft" for name in names} | {"nada"}
    files = {name for verb, *names in filter(None, rules) if verb == "include" for name in names}
    files |= {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}
    assert {name for name in tracked() if name.partition("/")[0] not in folders} <= files


def test_metadata():
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text("utf-8"))
    about, comfy = project["project"], project["tool"]["comfy"]
    assert len(about["name"]) < 100
    assert "comfyui" not in about["name"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])
    assert about["version"] == nada.__version__
    assert comfy["DisplayName"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert "web" not in comfy, "the frontend looks for help pages under WEB_DIRECTORY's name"
    wanted = (ROOT / "requirements.txt").read_text("utf-8").split()
    others = [line for line in about["dependencies"] if not line.startswith("torch>")]  # ComfyUI chose one for the GPU
    assert wanted == others, "what Manager installs and what pip installs differ"


def test_the_version_is_that_of_the_copy_that_runs(tmp_path, monkeypatch):
    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(nada, "__file__", str(tmp_path / "nada" / "__init__.py"))
    monkeypatch.setattr(metadata, "version", lambda name: "installed")
    assert nada._version() == "installed"
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "another"\nversion = "9.9.9"\n')
    assert nada._version() == "installed"
    project.write_text((ROOT / "pyproject.toml").read_text("utf-8"))
    assert nada._version() == nada.__version__
    project.unlink()
    monkeypatch.setattr(metadata, "version", not_installed)
    assert nada._version() == "unknown"


def test_icon_and_banner_have_the_registrys_shapes():
    with Image.open(ROOT / "docs" / "icon.png") as icon:
        assert icon.width == icon.height <= 400
    with Image.open(ROOT / "docs" / "banner.jpg") as banner:
        assert banner.width * 9 == banner.height * 21
