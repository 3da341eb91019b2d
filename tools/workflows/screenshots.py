"""Open the templates in the editor of a running ComfyUI, and save screenshots of them at 1600 x 1000.

    python tools/workflows/screenshots.py --server 127.0.0.1:8188 --out FOLDER [--nodes2] [--language zh] [name ...]

Needs Playwright and a Chromium. The exit status is 1 if a template opens so small that its texts are left out.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from helpers.comfyui_server import TEMPLATES  # noqa: E402

SIZE = {"width": 1600, "height": 1000}
START, SETTLE = 12_000, 4_000  # ms to wait until the editor has started, and until a workflow is drawn
QUALITY = 80
SET = "([name, value]) => window.app.ui.settings.setSettingValueAsync(name, value)"
LOAD = "workflow => window.app.loadGraphData(workflow, true, true, null, { openSource: 'template' })"
SCALE = "() => window.app.canvas.ds.scale"
READABLE = 8 / 14  # scale below which the classic editor leaves texts out


def opened(page: Page, name: str) -> float:
    """Open a template as a graph, never as an app; returns the scale of the editor's view."""
    workflow = json.loads((ROOT / "workflows" / f"{TEMPLATES[name]}.json").read_text("utf-8"))
    workflow["extra"].pop("linearMode", None)
    page.evaluate(LOAD, workflow)
    page.wait_for_timeout(SETTLE)
    page.keyboard.press("Escape")
    return page.evaluate(SCALE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="127.0.0.1:8188", help="host and port (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--nodes2", action="store_true", help="use Nodes 2.0")
    parser.add_argument("--language", default="en", help="language of the editor (default: %(default)s)")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser (default: %(default)s)")
    parser.add_argument("names", nargs="*", metavar="name", help="templates (default: all)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    small = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto(f"http://{options.server}")
        page.wait_for_timeout(START)
        for setting in (("Comfy.VueNodes.Enabled", options.nodes2), ("Comfy.Locale", options.language)):
            page.evaluate(SET, list(setting))
        page.reload()  # the language takes effect on reload
        page.wait_for_timeout(START)
        for name in options.names or TEMPLATES:
            scale = opened(page, name)
            small += [name] if scale < READABLE else []
            Image.open(io.BytesIO(page.screenshot())).save(options.out / f"{name}.webp", quality=QUALITY)
            print(f"{name}: {scale:.0%}")
        browser.close()
    sys.exit(f"too small to read: {', '.join(small)}" if small else 0)
