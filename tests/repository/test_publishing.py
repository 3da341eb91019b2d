"""The registry's archive: small, without suspicious words, and complete."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from importlib import metadata

import pytest
from helpers.stub_comfyui import ROOT
from PIL import Image

import nada
from tools import publishing

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


@pytest.fixture(scope="module")
def shipped() -> set[str]:
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no git checkout, so nothing says which files belong to it")
    return publishing.archive()


def test_archive_holds_what_runs_and_little_else(shipped):
    assert publishing.faults(shipped) == []
    assert {name for name in shipped if name.startswith("docs/")} == {
        "docs/troubleshooting.md",
        "docs/threat_model.md",
        "docs/api.md",
    }


def test_faults_of_an_archive_are_named(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "ROOT", tmp_path)
    bad = {"README.md": "", "tests/test_x.py": "", "nada/demo/x.pkl": "", "nodes/x.py": "import subprocess"}
    for name, text in bad.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = "\n".join(publishing.faults({*bad}))
    for words in ("lacks LICENSE", "the folder tests", "the pickle nada/demo/x.pkl", "'subprocess'"):
        assert words in found


def test_one_command_fills_in_what_only_the_publisher_knows():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    filled = publishing.filled(text, "some-one", "https://github.com/some-one/nada.git")
    project = pytest.importorskip("tomllib").loads(filled)
    assert project["project"]["urls"]["Repository"] == "https://github.com/some-one/nada"
    comfy = project["tool"]["comfy"]
    assert comfy["PublisherId"] == "some-one"
    assert comfy["Icon"] == "https://raw.githubusercontent.com/some-one/nada/main/docs/icon.png"
    assert publishing.missing(filled) == []
    assert publishing.filled(filled, "some-one", "https://github.com/some-one/nada") == filled, "a second time"
    kept = pytest.importorskip("tomllib").loads(text)
    del project["project"]["urls"]["Repository"], comfy["PublisherId"], comfy["Icon"], comfy["Banner"]
    kept["project"]["urls"].pop("Repository", None)
    for key in ("PublisherId", "Icon", "Banner"):
        kept["tool"]["comfy"].pop(key, None)
    assert project == kept, "nothing else changed"
    for publisher, repository in (("Some One", "https://github.com/a/b"), ("me", "https://example.org/a/b")):
        with pytest.raises(ValueError, match=r"publisher is|repository is"):
            publishing.filled(text, publisher, repository)
    without = text.replace("PublisherId", "Other")
    assert any("PublisherId" in sentence for sentence in publishing.missing(without))


@pytest.mark.slow
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


def test_the_publishing_tools_rules_hold():
    pytest.importorskip("ruff")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "S102,S307,E702"]
    done = subprocess.run([*command, "__init__.py", "nada", "nodes"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_node_classes_are_where_they_belong(shipped):
    """ComfyUI-Manager counts the node classes of every file that it finds, including tests."""
    for name in (name for name in publishing.tracked() if name.endswith(".py") and not name.startswith("nodes/")):
        text = (ROOT / name).read_text("utf-8")
        for node in ast.walk(ast.parse(text)) if "ComfyNode" in text else ():
            bases = node.bases if isinstance(node, ast.ClassDef) else []
            assert not any(ast.unparse(base).endswith("ComfyNode") for base in bases), f"{name}: {node.name}"


def test_the_source_distribution_is_the_whole_repository(shipped):
    """setuptools adds nada/ and the usual files at the top automatically; MANIFEST.in names the rest."""
    rules = [line.split() for line in (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()]
    folders = {name for verb, *names in filter(None, rules) if verb == "graft" for name in names} | {"nada"}
    files = {name for verb, *names in filter(None, rules) if verb == "include" for name in names}
    files |= {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}
    assert {name for name in publishing.tracked() if name.partition("/")[0] not in folders} <= files


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
