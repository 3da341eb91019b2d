"""Lines that nodes show while they run: each has a translation, and the editor's script finds it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tools.locales import LOCALES
from tools.status_lines import ROOT, STATUS, read, templates

GAP = re.compile(r"\{\d\}")
OTHERS = sorted(path.name for path in LOCALES.iterdir() if path.name != "en")
CALLS = """
import { readFileSync } from "fs";
globalThis.fetch = async (url) => ({ ok: true, json: async () => JSON.parse(readFileSync(url)) });
const { learnLanguage, saidOnNode } = await import(process.argv[1]);
await learnLanguage(process.argv[2]);
console.log(JSON.stringify(JSON.parse(readFileSync(0)).map(saidOnNode)));
"""


@pytest.fixture(scope="module")
def wanted() -> set[str]:
    """The templates, collected once."""
    return templates()


def shown(language: str, lines: list[str]) -> list[str]:
    """Lines as the editor shows them."""
    program = shutil.which("node")
    if not program:
        pytest.skip("Node.js is not installed")
    command = [program, "--input-type=module", "--eval", CALLS, (ROOT / "web" / "language.js").as_uri(), language]
    done = subprocess.run(command, input=json.dumps(lines), capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def test_every_language_has_lines():
    assert sorted(path.stem for path in STATUS.iterdir()) == OTHERS


@pytest.mark.parametrize("language", OTHERS)
def test_every_line_is_translated(language, wanted):
    found = read(language)
    assert len(wanted) > 50
    assert not wanted - found.keys(), f"web/status/{language}.json lacks them"
    assert not found.keys() - wanted, f"web/status/{language}.json has left over"
    for template, translation in found.items():
        assert sorted(GAP.findall(template)) == sorted(GAP.findall(translation)), template


@pytest.mark.parametrize("language", OTHERS)
def test_the_script_translates_each(language, wanted):
    """With values in the gaps, and as a part of a longer line."""
    lines = {template: GAP.sub("7", template) for template in wanted}
    translated = [GAP.sub("7", read(language)[template]) for template in lines]
    assert shown(language, [*lines.values()]) == translated
    assert shown(language, translated) == translated, "a translation must not be translated again, see translateLine"
    assert shown(f"{language}-XX", [" | ".join(lines.values())]) == [" | ".join(translated)]


def test_values_are_kept():
    lines = {
        "iteration 5/40 | loss 0.812 | 1.9 it/s | 1 min 35 s left": "第 5/40 步 | 损失 0.812 | 1.9 步/秒 | "
        "剩余 1 分 35 秒",
        "downloading ffhq-1024: 3 of 133 MB": "正在下载 ffhq-1024：3 / 133 MB",
        "stopped after iteration 3 | the training so far is saved as the mapper cancelled/pig": "在第 3 步后停止 | "
        "到此为止的训练已保存为映射器 cancelled/pig",
        "photo -> sketch | weights": "photo -> sketch | weights",
        "a {0} (*.?) $& line": "a {0} (*.?) $& line",
        "{0}: iteration 1/2 | loss 0.1": "{0}：第 1/2 步 | 损失 0.1",
        "": "",
    }
    assert shown("zh", [*lines]) == [*lines.values()]
    assert shown("en", [*lines]) == [*lines]


def test_a_new_line_is_found(tmp_path, monkeypatch):
    """Whatever way a line is made: as a plain text, with values, in a list, or in a function of the library."""
    files = {
        "nodes/new.py": 'def execute():\n    """Do so."""\n    say(" | ".join([f"turned {a} by {b}", "is done"]))\n'
        '    raise UsageError("never seen")\n\n\nclass New:\n    out = "too large here"\n'
        '    def define_schema():\n        return "a tooltip"\n',
        "nada/clip/alphabet.py": 'def unreadable_remark():\n    return f"no {word} is known"\n',
        "nada/checkpoint/own.py": 'def read():\n    notes.append("It is old.")\n    return "not a line"\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr("tools.status_lines.ROOT", tmp_path)
    assert templates() == {"turned {0} by {1}", "is done", "too large here", "no {0} is known", "It is old."}
