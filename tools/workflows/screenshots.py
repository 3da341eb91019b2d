"""Open the templates in the editor of ComfyUI, and save screenshots of them at 1600 x 1000.

    COMFYUI_PATH=... python tools/workflows/screenshots.py [--nodes2] [--language zh] [--out FOLDER] [name ...]

Those in the classic editor and in English are pictures of docs/gallery.md. Needs Playwright, a Chromium, and ComfyUI:
a running one (--server), or a checkout of it in COMFYUI_PATH, which is started for this. The exit status is 1 if a
template opens so small that its texts are left out, if nodes overlap, or if a note is longer than its node.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from itertools import combinations
from pathlib import Path

from comfyui import ROOT, TEMPLATES, add_server_option, running
from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIZE = {"width": 1600, "height": 1000}
START, SETTLE = 8_000, 4_000  # ms to wait until the editor has settled, and until a workflow is drawn
STARTED = "() => window.app?.ui?.settings && window.app.graph"
SLOW = 180_000  # ms that a busy machine may need
GALLERY = ROOT / "docs" / "gallery"
QUALITY, SHOWN_WIDTH = 80, 1280  # quality of a screenshot as WebP, and its width in px
SET = "([name, value]) => window.app.ui.settings.setSettingValueAsync(name, value)"
LOAD = "workflow => window.app.loadGraphData(workflow, true, true, null, { openSource: 'template' })"
SCALE = "() => window.app.canvas.ds.scale"
BOXES = """() => window.app.graph._nodes.map(node => {
  const box = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
  const [x, y, width, height] = box ? [box.x, box.y, box.width, box.height] : node.boundingRect ?? node.getBounding();
  return [node.type, x, y, x + width, y + height];
})"""
CUT_NOTES = """() => [...document.querySelectorAll(".comfy-markdown-content, .comfy-markdown .tiptap")]
  .filter(note => note.scrollHeight > note.clientHeight + 2)
  .map(note => `${note.scrollHeight - note.clientHeight} px of "${note.innerText.slice(0, 30)}"`)"""
TOUCH = 1  # px that boxes may share
READABLE = 8 / 14  # scale below which the classic editor leaves texts out


def wait_for_start(page: Page) -> None:
    """Wait until the editor has started."""
    page.wait_for_function(STARTED)
    page.wait_for_timeout(START)


def opened(page: Page, name: str) -> float:
    """Open a template as a graph, never as an app; returns the scale of the editor's view."""
    workflow = json.loads((ROOT / "workflows" / f"{TEMPLATES[name]}.json").read_text("utf-8"))
    workflow["extra"].pop("linearMode", None)
    page.evaluate(LOAD, workflow)
    page.wait_for_timeout(SETTLE)
    page.keyboard.press("Escape")
    return page.evaluate(SCALE)


def overlapping(page: Page) -> list[str]:
    """Pairs of nodes that overlap as the editor draws them, such as "SampleLatents and NADATextAdapt"."""
    pairs = combinations(page.evaluate(BOXES), 2)
    return [f"{a} and {b}" for (a, *one), (b, *other) in pairs if not _apart(one, other)]


def _apart(a: list[float], b: list[float]) -> bool:
    return any(first[2 + side] - second[side] <= TOUCH for first, second in ((a, b), (b, a)) for side in (0, 1))


def save(picture: bytes, path: Path) -> None:
    """Save a screenshot, smaller than it was taken."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((SHOWN_WIDTH, image.height), Image.Resampling.LANCZOS)
    image.save(path, quality=QUALITY, method=6)


def main() -> None:
    """Save the screenshots, and tell what cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("--out", type=Path, default=GALLERY, help="folder for the pictures (default: docs/gallery)")
    parser.add_argument("--nodes2", action="store_true", help="use Nodes 2.0")
    parser.add_argument("--language", default="en", help="language of the editor (default: %(default)s)")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser (default: %(default)s)")
    parser.add_argument("names", nargs="*", metavar="name", help="templates (default: all)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    faults = []
    with running(options.server) as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(SLOW)
        page.goto(f"http://{client.address}")
        wait_for_start(page)
        for setting in (("Comfy.VueNodes.Enabled", options.nodes2), ("Comfy.Locale", options.language)):
            page.evaluate(SET, list(setting))
        page.reload()  # the language takes effect on reload
        wait_for_start(page)
        for name in options.names or TEMPLATES:
            scale = opened(page, name)
            faults += [f"{name}: {pair} overlap" for pair in overlapping(page)]
            faults += [f"{name}: {note} do not fit" for note in page.evaluate(CUT_NOTES)]
            faults += [f"{name} is too small to read"] if scale < READABLE else []
            save(page.screenshot(), options.out / f"{name}_graph.webp")
            print(f"{name}: {scale:.0%}")
        browser.close()
    sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
