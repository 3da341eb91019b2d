"""Walk the path of a newcomer in ComfyUI's editor, and print the steps with their times, for docs/first_path.md.

    COMFYUI_PATH=... python tools/workflows/first_path.py [--server 127.0.0.1:8188] [--out FOLDER] [--iterations N]

From the button Templates to a style in another graph, by clicks and keys as a newcomer would use them; only the wires
are connected by the script. Needs Playwright, a Chromium and ComfyUI. The exit status is 1 if a step fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comfyui import TEMPLATES, Client, add_server_option, running
from playwright.sync_api import Page, sync_playwright

SIZE = {"width": 1600, "height": 1000}
START, SETTLE, SLOW = 12_000, 3_000, 120_000  # ms until the editor has started, until it has drawn, and at most
LONGEST = 900  # s of a run
TARGET = "watercolor painting"
NODE = "type => window.app.graph._nodes.find(node => node.type === type)"
VALUE = f"([type, name]) => ({NODE})(type).widgets.find(widget => widget.name === name).value"
SET = f"([type, name, value]) => {{ ({NODE})(type).widgets.find(widget => widget.name === name).value = value; }}"
OPTIONS = f"([type, name]) => ({NODE})(type).widgets.find(widget => widget.name === name).options.values"
SHOW = f"""type => {{
  const node = ({NODE})(type), view = window.app.canvas;
  view.ds.scale = 1;
  view.ds.offset = [200 - node.pos[0], 200 - node.pos[1]];
  view.setDirty(true, true);
}}"""
WIRES = """links => {
  const node = type => window.app.graph._nodes.find(candidate => candidate.type === type);
  for (const [from, output, to, input] of links) node(from).connect(output, node(to), input);
}"""
NEW_GRAPH = (
    "Load StyleGAN2",
    "Load Style (StyleGAN)",
    "Apply Style (StyleGAN)",
    "Sample Latents",
    "Generate Images",
    "Preview Image",
)
LINKS = [
    ["LoadStyleGAN2", 0, "NADAApplyStyle", "generator"],
    ["NADALoadStyle", 0, "NADAApplyStyle", "style"],
    ["LoadStyleGAN2", 0, "SampleLatents", "generator"],
    ["NADAApplyStyle", 0, "GenerateImages", "generator"],
    ["SampleLatents", 0, "GenerateImages", "latents"],
    ["GenerateImages", 0, "PreviewImage", "images"],
]


class Walk:
    """The path: a page of the editor, and the ComfyUI behind it."""

    def __init__(self, page: Page, client: Client, out: Path | None, iterations: int | None):
        self.page, self.client, self.out, self.iterations = page, client, out, iterations
        self.count = 0

    def step(self, what: str, act: Callable[[], Any]) -> None:
        """Do a step, and print it with its time."""
        begin = time.monotonic()
        found = act()
        seconds = time.monotonic() - begin
        self.count += 1
        if self.out:
            self.page.screenshot(path=self.out / f"{self.count:02}.png")
        print(f"{self.count}. {what}: {seconds:.0f} s{f' ({found})' if found else ''}.", flush=True)

    def open_editor(self) -> None:
        self.page.goto(f"http://{self.client.address}")
        self.page.locator(".templates-tab-button").wait_for()
        self.page.wait_for_timeout(START)
        self.page.keyboard.press("Escape")

    def open_template(self, name: str) -> None:
        """Open a template by the button Templates and the category of the pack."""
        self.page.locator(".templates-tab-button").click(force=True)
        card = self.page.get_by_test_id(f"template-workflow-{TEMPLATES[name]}")
        self.page.get_by_role("dialog").get_by_text("StyleGAN-NADA", exact=False).first.click(force=True)
        card.wait_for()
        card.click(force=True)
        self.page.wait_for_timeout(SETTLE)
        self.page.keyboard.press("Escape")  # the editor's own tour of apps
        if self.iterations:
            self.page.evaluate(SET, ["NADATextAdapt", "iterations", self.iterations])

    def run(self, button: Callable[[], Any]) -> None:
        """Press a button, and wait until the server has finished one more prompt."""
        before = len(self.client.get("/history"))
        button()
        end = time.monotonic() + LONGEST
        while len(history := self.client.get("/history")) == before:
            if time.monotonic() > end:
                raise TimeoutError(f"the run did not end within {LONGEST} seconds")
            self.page.wait_for_timeout(500)
        status = [*history.values()][-1]["status"]["status_str"]
        if status != "success":
            raise RuntimeError(f"the run ended with {status}")
        self.page.wait_for_timeout(SETTLE)

    def run_app(self) -> None:
        self.run(lambda: self.page.get_by_test_id("linear-run-button").get_by_role("button").last.click(force=True))

    def run_graph(self) -> None:
        self.run(lambda: self.page.get_by_test_id("queue-button").click(force=True))

    def write_target(self) -> None:
        field = (
            self.page.get_by_test_id("app-mode-widget-item").filter(has_text="target").locator("input, textarea").first
        )
        field.fill(TARGET)
        field.press("Tab")

    def enter_graph(self) -> None:
        self.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.ToggleLinear')")
        self.page.wait_for_timeout(SETTLE)

    def pick(self) -> str:
        """Click the third column of the filmstrip."""
        self.page.evaluate(SHOW, "NADAPickSnapshot")
        self.page.wait_for_timeout(SETTLE)
        self.page.locator("button[data-moment]").nth(2).click(force=True)
        return f"step {self.page.evaluate(VALUE, ['NADAPickSnapshot', 'step'])}"

    def new_graph(self) -> None:
        self.page.keyboard.press("Escape")
        self.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
        self.page.wait_for_timeout(SETTLE)
        self.page.evaluate("() => { window.app.canvas.ds.scale = 0.5; window.app.canvas.setDirty(true, true); }")

    def add_nodes(self) -> str:
        """Add nodes by the search that a double click opens; return the first style that the loader lists."""
        for i, words in enumerate(NEW_GRAPH):
            place = 160 + 220 * i, 400
            self.page.mouse.dblclick(*place)
            self.page.wait_for_timeout(800)
            self.page.keyboard.type(words.lower(), delay=20)
            self.page.wait_for_timeout(1200)
            self.page.keyboard.press("Enter")
            self.page.wait_for_timeout(800)
            self.page.mouse.click(*place)  # newer editors let the node follow the mouse until a click places it
            self.page.wait_for_timeout(400)
        return f"first style: {self.page.evaluate(OPTIONS, ['NADALoadStyle', 'style_name'])[0]}"

    def whole(self) -> None:
        """Walk the whole path."""
        self.step("open the editor", self.open_editor)
        self.step(
            "**Templates**, this pack's category, *01 Quickstart photo to sketch*",
            lambda: self.open_template("quickstart"),
        )
        self.step("**Run** in the app", self.run_app)
        self.step(f"write *{TARGET}* into **target**", self.write_target)
        self.step("**Run** again", self.run_app)
        self.step("**Templates**, *02 Faces to sketches demo*", lambda: self.open_template("sketch_demo"))
        self.step("**Run** in the app; the style is saved too", self.run_app)
        self.step("*Enter node graph*", self.enter_graph)
        self.step("click the third column of the filmstrip on *NADA Pick Snapshot*", self.pick)
        self.step("**Run**: the snapshot's pictures and its style", self.run_graph)
        self.step("a new workflow", self.new_graph)
        self.step("double click, and add six nodes by their names", self.add_nodes)
        self.step("connect them", lambda: self.page.evaluate(WIRES, LINKS))
        self.step("**Run**: the style in another graph", self.run_graph)


def main() -> None:
    """Walk the path in a fresh browser."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("--out", type=Path, help="folder for a screenshot of each step")
    parser.add_argument("--iterations", type=int, help="shorter trainings, to try the path (default: the templates')")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser (default: %(default)s)")
    options = parser.parse_args()
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    with running(options.server) as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(SLOW)
        try:
            Walk(page, client, options.out, options.iterations).whole()
        except Exception as error:
            if options.out:
                page.screenshot(path=options.out / "failed.png")
            sys.exit(f"failed: {error}")
        finally:
            browser.close()


if __name__ == "__main__":
    main()
