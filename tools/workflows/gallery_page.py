"""The gallery: for each claim a picture, the workflow that made it, and the settings of its nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import kinds  # which also makes the library importable
from graph import MUTED, NOTE, PACK, Graph, Kind, Node

from nada import AdaptConfig, load_generator
from nada.settings import settings_of

INTRODUCTION = """\
# Gallery

Each section shows one claim: a picture, the workflow that made it, and its settings. To open a workflow in ComfyUI,
choose it by its name under **Templates**, this pack's category, or drag its file onto the canvas; then press **Run**.

All pictures are of the demo models, {resolution} px, because no GPU was at hand for published generators; the last
workflows are for those. `COMFYUI_PATH=... python tools/workflows/thumbnails.py` makes the pictures again,
`COMFYUI_PATH=... python tools/workflows/screenshots.py` those of the graphs, and `python tools/workflows/build.py` this
page.
"""
DOWNLOADED = """\
## With published generators

The same graphs for generators of 1024 and 512 px, which the first Run downloads. They were not run, because no GPU
was at hand.
"""
AUTOMATIC = ("iterations", "batch", "learning_rate", "layers", "views")  # defaults leave them to the generator's file
SHARED = (
    "generator_name",
    "clip_name",
    "filename_prefix",
    "labels",
    "preview_every",
)  # settings that change no picture
FIELDS = settings_of(AdaptConfig).keys()


class Claim(NamedTuple):
    """Title and text for what a template shows."""

    title: str
    text: str


CLAIMS = {
    "quickstart": Claim(
        "Two phrases turn photos into sketches",
        "The same dogs before and after. The training saw no picture of a sketch, only the words.",
    ),
    "sketch_demo": Claim("It works for people", "The same graph with the generator of people, and a snapshot to pick."),
    "pixar_demo": Claim(
        "Other words, another look", "The words are *3d render in the style of Pixar*; the people stay the same."
    ),
    "dog_to_pig_demo": Claim(
        "Another animal", "Only the layers that the text moves most are trained, so that the pictures stay photos."
    ),
    "mix_styles": Claim(
        "Styles add up", "A style from dogs to pigs, added to the generator of sketches: sketches of pigs."
    ),
    "compare": Claim("Generators side by side", "Each row is one latent code: the same dog in every generator."),
    "style_images": Claim(
        "Pictures instead of words", "The target is three pictures, here outlines that ComfyUI's own nodes draw."
    ),
    "latent_walk_video": Claim(
        "The pictures move", "Moments of a walk through latent space, before and after side by side."
    ),
    "chain_into_img2img": Claim(
        "A source of pictures for any workflow",
        "The sketch that goes into image to image. The rest needs a checkpoint.",
    ),
    "photo_to_sketch_demo": Claim(
        "Your own pictures",
        "Photos, the generator's images at the codes it found for them, and these codes as sketches.",
    ),
    "photo_video": Claim("Your own video", "Frames of a film, each inverted, adapted and pasted back into its square."),
}


def page(graphs: Mapping[str, Graph], files: Mapping[str, str], titles: Mapping[str, str]) -> str:
    """Write the page as Markdown.

    Args:
        graphs: the templates by name.
        files: the names of their files.
        titles: the titles of nodes by their ids.
    """
    parts = [INTRODUCTION.format(resolution=load_generator("demo").config.resolution)]
    for name, claim in CLAIMS.items():
        rows = "\n".join(
            f"| {node.title or titles[node.kind.name]} | {text} |" for node, text in _settings(graphs[name])
        )
        parts.append(
            f"## {claim.title}\n\n{claim.text}\n\n![{claim.title}](gallery/{name}.jpg)\n\n"
            f"Workflow {_link(files[name])}{_graph(name)}.\n\n"
            f"| Node | Settings |\n|---|---|\n{rows}\n"
        )
    others = [name for name in graphs if name not in CLAIMS]
    rows = "\n".join(f"- {_link(files[name])}{_graph(name)}" for name in others)
    return "\n".join([*parts, f"{DOWNLOADED}\n{rows}\n"])


def _graph(name: str) -> str:
    """Link to the screenshot of a graph, if there is one."""
    path = f"gallery/{name}_graph.webp"
    return f" ([graph]({path}))" if (kinds.ROOT / "docs" / path).is_file() else ""


def _link(file: str) -> str:
    return f"[{file}](../workflows/{quote(file)}.json)"


def _settings(graph: Graph) -> Iterator[tuple[Node, str]]:
    """Yield the settings of each node of the pack that has some."""
    for node in graph.nodes:
        if node.kind.name != NOTE and node.kind.origin == PACK and node.mode != MUTED:
            told = _training(node) if "iterations" in node.values and "source" in node.values else _changed(node)
            if text := ", ".join(f"`{name}` {_shown(value)}" for name, value in told.items() if name not in SHARED):
                yield node, text


def _training(node: Node) -> dict[str, Any]:
    """Settings of a training, the automatic ones as the generator's file recommends them."""
    options = node.links["options"].node.values if "options" in node.links else {}
    automatic = [name for name in AUTOMATIC if node.values.get(name) == _defaults(node.kind).get(name)]
    values = {name: value for name, value in {**options, **node.values}.items() if name not in automatic}
    base = load_generator(node.links["generator"].node.values["generator_name"])
    pictures = "style_images" in node.links
    given = {name: value for name, value in values.items() if name in FIELDS and not (name == "views" and value < 0)}
    config = AdaptConfig.for_generator(base, style_images=pictures, **given)
    of_pictures = (*(("image_share",) if config.target else ()), "style_weight") if pictures else ()
    told = ("source", "target", *of_pictures, *AUTOMATIC, "seed")
    return {name: value for name in told if (value := getattr(config, name)) != ""}


def _changed(node: Node) -> dict[str, Any]:
    """Settings of a node that differ from its defaults."""
    defaults = _defaults(node.kind)
    return {name: value for name, value in node.values.items() if "." not in name and value != defaults.get(name)}


def _defaults(kind: Kind) -> dict[str, Any]:
    return {socket.name: socket.default for socket in kind.inputs}


def _shown(value: Any) -> str:
    """A value as text for a cell of a table."""
    return f"*{value}*".replace("|", "\\|") if isinstance(value, str) and value else str(value)
