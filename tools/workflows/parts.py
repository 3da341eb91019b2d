"""Parts that the workflows share: their start, models, trainings and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graph import BETWEEN, BLUE, Graph, Group, Kind, Node

from nada.published.catalog import PUBLISHED_CLIPS, find_published

NOTES = Path(__file__).parent / "notes"
OPENAI = "ViT-B/32 + ViT-B/16 (OpenAI, downloads 1.2 GB on first use)"
SAID, PICTURE, WHOLE, SQUARE = 30, 190, 250, 330  # px of room: a text; before and after; with a text; a square
THUMBNAIL = 100  # px of room: a small picture
LOADER, IMAGE, NARROW = 260, 360, 208  # px of columns; Nodes 2.0 draws no node narrower than 225
IDS = 100  # offset of node ids: 101 and up in the first template, 201 and up in the second


class Start:
    """Start of a workflow: a note and models, the demo's or published ones."""

    def __init__(self, kinds: Mapping[str, Kind], name: str, first: int):
        self.kinds, self.name, self.first = kinds, name, first

    @property
    def title(self) -> str:
        """Prefix of the files that the workflow saves."""
        return f"stylegan-nada/{self.name}"

    def graph(self) -> Graph:
        """An empty graph with the note."""
        note = (NOTES / f"{self.name}.md").read_text(encoding="utf-8").strip()
        return Graph(self.kinds, note, self.first)


def demo_models(graph: Graph, generator: str = "demo") -> tuple[Node, Node]:
    """Add one of the demo's generators, of dogs or of people, and the demo's CLIP models."""
    return graph.add("LoadStyleGAN2", room=SAID, generator_name=generator), graph.add("NADALoadCLIP", room=SAID)


def published_file(name: str) -> dict[str, str]:
    """Return name, address and folder of a published model's file, as the editor's download dialog takes them."""
    model = find_published(name)
    return {"name": model.file, "url": model.url, "directory": "stylegan"}


def published_models(graph: Graph, name: str) -> tuple[Node, Node]:
    """Add a published generator and OpenAI's CLIP models."""
    clips = [{"name": clip.file, "url": clip.url, "directory": "open_clip"} for clip in PUBLISHED_CLIPS]
    entries = graph.kinds["LoadStyleGAN2"].choices["download"]
    (entry,) = (entry for entry in entries if f"| {name}," in entry)
    chosen = {"generator_name": graph.kinds["LoadStyleGAN2"].choices["generator_name"][-1], "download": entry}
    generator = graph.add("LoadStyleGAN2", room=SAID, models=[published_file(name)], **chosen)
    return generator, graph.add("NADALoadCLIP", room=SAID, clip_name=OPENAI, models=clips)


def adapt(
    graph: Graph, base: Node, clip: Node, title: str | None = None, room: int = PICTURE, **settings: Any
) -> tuple[Node, list[Node]]:
    """Add the training, and a node of options if there are settings without a widget on it.

    Settings that are not given come from the generator's file, or are defaults.
    """
    here = {socket.name for socket in graph.kinds["NADATextAdapt"].inputs}
    others = {name: value for name, value in settings.items() if name not in here}
    options = [graph.add("NADATrainingOptions", **others)] if others else []
    own = {name: value for name, value in settings.items() if name in here} | (
        {"options": options[0]} if others else {}
    )
    return graph.add("NADATextAdapt", title, room, generator=base, clip=clip, **own), options


def models(
    graph: Graph, base: Node, clip: Node, options: Sequence[Node] = (), gap: int = BETWEEN, above: int = 0
) -> None:
    """Add the first column, with the models."""
    groups = [Group("1 Models", BLUE, [base, clip], above)]
    groups += [Group("Options of step 2", BLUE, options)] if options else []
    graph.column(LOADER, *groups, gap=gap)
