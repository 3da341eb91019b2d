"""Run the workflows in a ComfyUI, and make the pictures that its template browser and docs/gallery.md show.

    COMFYUI_PATH=... python tools/workflows/thumbnails.py [--server 127.0.0.1:8188] [name ...]

Needs a running ComfyUI (--server), or a checkout of it in COMFYUI_PATH, which is started for this. Workflows with
published models are not run: they get the picture of their twin with demo models, which their notes mention.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path

from comfyui import ROOT, TEMPLATES, Client, add_server_option, running, to_prompt
from PIL import Image
from PIL.Image import Resampling

SIDE, GAP, QUALITY = 540, 16, 84  # px: approximate side of a thumbnail, and gap between its pictures; JPEG quality
LIMIT = 1800  # longest time for a workflow, seconds
LABEL, ROW = 28, 132  # px: height of the headings of a comparison, and of each row


class Run:
    """Results of a workflow.

    Args:
        client: client of a running ComfyUI.
        name: name of the workflow.
        goal: filename_prefix of the only node to run; None for all.
    """

    def __init__(self, client: Client, name: str, goal: str | None = None):
        self.client = client
        workflow = json.loads((ROOT / "workflows" / f"{TEMPLATES[name]}.json").read_text(encoding="utf-8"))
        self.prompt = to_prompt(workflow, client.get("/object_info"))
        goals = [key for key, node in self.prompt.items() if goal and node["inputs"].get("filename_prefix") == goal]
        options = {"partial_execution_targets": goals} if goal else {}
        self.result = client.result(client.queue(self.prompt, **options), LIMIT)

    def node(self, kind: str) -> str:
        """Id of the single node of a type that has results."""
        return next(key for key in self.result["outputs"] if self.prompt[key]["class_type"] == kind)

    def pictures(self, kind: str = "SaveImage") -> list[Image.Image]:
        """Pictures of the node of a type."""
        return self.client.pictures(self.result, self.node(kind))


def rows(*which: int) -> Callable[[Run], Image.Image]:
    """Select saved pictures, and stack them."""
    return lambda run: stacked([run.pictures()[i] for i in which], 1)


def comparison(count: int) -> Callable[[Run], Image.Image]:
    """Select the first rows of the grid."""

    def top(run: Run) -> Image.Image:
        grid = run.pictures("NADACompareGrid")[0]
        return grid.crop((0, 0, grid.width, LABEL + count * ROW))

    return top


def shown(kind: str) -> Callable[[Run], Image.Image]:
    """Show the results of a training: before and after."""
    return lambda run: run.pictures(kind)[0]


def film(run: Run, kind: str = "SaveVideo") -> list[Image.Image]:
    """Decode the video that a node saved."""
    import av

    with av.open(io.BytesIO(run.client.files(run.result, run.node(kind))[0])) as video:
        return [frame.to_image() for frame in video.decode(video=0)]


def frames(*which: int) -> Callable[[Run], Image.Image]:
    """Select moments of the video, two in a row."""

    def moments(run: Run) -> Image.Image:
        decoded = film(run)
        return stacked([decoded[i] for i in which], 2)

    return moments


def before_and_after(*which: int) -> Callable[[Run], Image.Image]:
    """Select moments of the animation that goes in, and the same moments of the video that comes out below them."""

    def moments(run: Run) -> Image.Image:
        before, after = [], film(run, "SaveWEBM")
        with Image.open(io.BytesIO(run.client.files(run.result, run.node("NADALatentWalk"))[0])) as animation:
            for i in which:
                animation.seek(i)
                before.append(animation.convert("RGB").resize(after[0].size))
        return stacked([*before, *(after[i] for i in which)], len(which))

    return moments


def stacked(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Arrange pictures of one size in rows."""
    width, height = pictures[0].width + GAP, pictures[0].height + GAP
    sheet = Image.new("RGB", (columns * width - GAP, -(-len(pictures) // columns) * height - GAP), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet


def inverted(run: Run) -> Image.Image:
    """Photos, inversions, errors, and adapted inversions."""
    parts = [run.pictures("NADAInvertPhoto")[0], run.pictures("NADACompareGrid")[0]]
    height = min(part.height for part in parts)
    sized = [part.resize((round(part.width * height / part.height), height), Resampling.LANCZOS) for part in parts]
    sheet = Image.new("RGB", (sum(part.width for part in sized) + GAP, height), "white")
    sheet.paste(sized[0], (0, 0))
    sheet.paste(sized[1], (sized[0].width + GAP, 0))
    return sheet


MADE = {
    "quickstart": comparison(4),
    "sketch_demo": shown("NADATextAdapt"),
    "pixar_demo": shown("NADATextAdapt"),
    "dog_to_pig_demo": shown("NADATextAdapt"),
    "mix_styles": comparison(4),
    "compare": comparison(4),
    "style_images": shown("NADAImageAdapt"),
    "latent_walk_video": frames(0, 12, 24, 36, 48, 60, 72, 84),
    "photo_to_sketch_demo": inverted,
    "photo_video": before_and_after(0, 12, 24, 36),
    "chain_into_img2img": rows(0),
}
GOALS = {"chain_into_img2img": "stylegan-nada/chain_into_img2img_in"}  # the part that needs no checkpoint
TWINS = {"sketch_demo": "sketch", "pixar_demo": "pixar", "dog_to_pig_demo": "dog_to_pig"}
TWINS |= {"photo_to_sketch_demo": "photo_to_sketch"}


def save(picture: Image.Image, path: Path) -> None:
    """Save a picture in the size of a thumbnail."""
    scale = SIDE / min(picture.size)
    sized = picture.resize([round(side * scale) for side in picture.size], Resampling.LANCZOS)
    path.parent.mkdir(exist_ok=True)
    sized.save(path, quality=QUALITY, optimize=True)


def places(name: str) -> list[Path]:
    """Paths of a workflow's picture: for its template, for that of its twin, and for the gallery."""
    titles = [TEMPLATES[shown] for shown in (name, TWINS.get(name)) if shown]
    return [*(ROOT / "workflows" / f"{title}.jpg" for title in titles), ROOT / "docs" / "gallery" / f"{name}.jpg"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("names", nargs="*", metavar="name", help="workflows (default: all that need no download)")
    options = parser.parse_args()
    with running(options.server) as client:
        for name in options.names or MADE:
            picture = MADE[name](Run(client, name, GOALS.get(name)))
            for path in places(name):
                save(picture, path)
            print(name)
