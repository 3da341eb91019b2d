"""Workflows as code: nodes with their values and links by name, laid out in columns of groups."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

ACTIVE, MUTED = 0, 2
BLUE, ORANGE, GREEN, PURPLE, GRAY = "#3f789e", "#b06634", "#8A8", "#a1309b", "#555"
NOTE, CORE, PACK = "MarkdownNote", "comfy-core", "stylegan-nada"
WITH_PRESETS = ("NADATextAdapt", "NADAImageAdapt")  # nodes with a button for presets (web/editor.js)
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
WIDGETS = ("INT", "FLOAT", "STRING", "COMBO", "BOOLEAN", DYNAMIC_COMBO)
TITLE, SLOT, WIDGET, EDGE = 30, 20, 24, 14  # px, as the editor draws nodes
SLACK = 8  # px below the last widget
ROW, TEXT_ROW, MARGIN = 28, 36, 14  # px in Nodes 2.0: a widget, one with a text, and what surrounds them
PACK_ROW, ADVANCED_ROW = 24, 24  # px in Nodes 2.0: the name of the pack, and the button for advanced inputs
BADGE = 30  # px between nodes: the name of the pack is drawn above the title
TEXT_SIZE = "stylegan_nada_text_size"  # property of a note, for web/notes.js: the editor's own size is too small
TEXT, LETTER, LINE, PARAGRAPH, HEADING = 14, 7.6, 20, 8, 24  # px of a note: text size, letter, line, extra per line
INDENT, SPARE = 60, 8  # px at the sides of a list, and below the text: newer editors draw texts a little larger
NEXT = "**Try next**"  # heading of the second note: everything from it on
INSIDE, BETWEEN, HEADER = 10, 40, 74  # px from group to node, from group to group, and above a group's first node


@dataclass(frozen=True)
class Socket:
    """An input or output of a kind of node."""

    name: str
    type: str
    default: Any = None
    optional: bool = False
    control: bool = False
    """Whether the editor adds a widget for the value after a run."""
    advanced: bool = False
    """Whether the editor hides it among the advanced inputs."""
    nested: Mapping[str, tuple[Socket, ...]] = field(default_factory=dict)
    """Inputs that each entry of a dynamic combo adds."""
    choices: tuple[str, ...] = ()
    """Entries of a combo."""

    @property
    def is_widget(self) -> bool:
        return self.type in WIDGETS


@dataclass(frozen=True)
class Kind:
    """A kind of node."""

    name: str
    inputs: tuple[Socket, ...]
    """Inputs, the required ones first, as the editor orders them."""
    outputs: tuple[Socket, ...]
    origin: str = PACK

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """Entries of each combo."""
        return {socket.name: socket.choices for socket in self.inputs if socket.choices}


@dataclass(eq=False)
class Node:
    """A node of a graph."""

    id: int
    kind: Kind
    title: str | None
    values: dict[str, Any]
    links: dict[str, Output]
    room: int
    """Height in px of what the node shows: a text, a picture."""
    mode: int
    models: Sequence[dict[str, str]]
    """Files to download: name, url and folder."""
    place: tuple[int, int] = (0, 0)
    width: int = 0

    def __getitem__(self, name: str) -> Output:
        """Output of a name."""
        return Output(self, [socket.name for socket in self.kind.outputs].index(name))

    @property
    def height(self) -> int:
        """Height in px, without the title: the room, or what Nodes 2.0 needs without it if that is more."""
        sockets = SLOT * max(sum(not socket.is_widget for socket in self.kind.inputs), len(self.kind.outputs))
        shown = [socket for socket in self.kind.inputs if socket.is_widget and not socket.advanced]
        presets = self.kind.name in WITH_PRESETS
        widgets = sum(1 + socket.control for socket in shown) + presets
        rows = sum(TEXT_ROW if socket.type == "STRING" else ROW for socket in shown) + ROW * presets
        rows += PACK_ROW * (self.kind.origin == PACK)
        rows += ADVANCED_ROW * any(socket.advanced for socket in self.kind.inputs)
        return sockets + max(WIDGET * widgets + EDGE + SLACK + self.room, rows + MARGIN)


@dataclass(frozen=True)
class Output:
    """Output of a node, from which links begin."""

    node: Node
    slot: int

    @property
    def socket(self) -> Socket:
        return self.node.kind.outputs[self.slot]


@dataclass(frozen=True)
class Group:
    """Nodes below one another, in a frame."""

    title: str
    color: str
    nodes: Sequence[Node]
    above: int = 0
    """Free space above the group in px, where wires pass."""


@dataclass(frozen=True)
class Frame:
    """Frame on the canvas: left, top, width and height in px."""

    title: str
    color: str
    box: tuple[int, int, int, int]


class Graph:
    """A workflow under construction.

    Args:
        kinds: kinds of nodes by name.
        note: Markdown above the graph.
        first: id of the first node. Each template has ids of its own, since the editor shows the progress of a node on
            every open tab that has a node of that id.
    """

    def __init__(self, kinds: Mapping[str, Kind], note: str, first: int = 1):
        self.kinds, self.first, self.nodes, self.frames, self.right = kinds, first, [], [], 0
        self.app: dict[str, Any] = {}
        for title, text in zip(("Start here", "Try next"), split_note(note), strict=False):
            self.add(NOTE, title, text=text)

    def add(
        self,
        kind: str,
        title: str | None = None,
        room: int = 0,
        mode: int = ACTIVE,
        models: Sequence[dict[str, str]] = (),
        **inputs: Any,
    ) -> Node:
        """Add a node. Inputs are values, outputs of other nodes, or nodes with a single output of the fitting type."""
        known = {socket.name: socket for socket in self.kinds[kind].inputs}
        if odd := inputs.keys() - known.keys():
            raise ValueError(f"{kind} has no input {sorted(odd)[0]!r}; it has {', '.join(known)}")
        links, values = {}, {}
        for name, socket in known.items():
            given = inputs.get(name, socket.default)
            if isinstance(given, (Node, Output)):
                links[name] = _output(given, socket.type)
            elif socket.is_widget:
                values[name] = given
                for inner in socket.nested.get(given, ()):
                    values[f"{name}.{inner.name}"] = inner.default
        node = Node(self.first + len(self.nodes), self.kinds[kind], title, values, links, room, mode, models)
        self.nodes.append(node)
        return node

    def column(self, width: int, *groups: Group, gap: int = BETWEEN) -> None:
        """Add a column of groups at the right, with nodes `width` px wide."""
        top = -BETWEEN
        for group in groups:
            top += group.above
            bottom = top + HEADER - TITLE - BADGE
            for node in group.nodes:
                node.place, node.width = (self.right + INSIDE, bottom + TITLE + BADGE), width
                bottom = node.place[1] + node.height
            box = (self.right, top, width + 2 * INSIDE, bottom + INSIDE - top)
            self.frames.append(Frame(group.title, group.color, box))
            top = bottom + 2 * INSIDE
        self.right += width + 2 * INSIDE + gap

    def as_app(self, inputs: Sequence[tuple[Node, str]], outputs: Sequence[Node]) -> None:
        """Let the editor open the workflow as an app with these widgets and the results of these output nodes."""
        data = {"inputs": [[node.id, widget] for node, widget in inputs], "outputs": [node.id for node in outputs]}
        self.app = {"linearMode": True, "linearData": data}

    def _place_notes(self) -> None:
        """Place the notes side by side above the groups, with equal heights."""
        notes = [node for node in self.nodes if node.kind.name == NOTE]
        right = max(frame.box[0] + frame.box[2] for frame in self.frames)
        free, left = right - BETWEEN * (len(notes) - 1), 0

        def heights(first: int) -> list[int]:
            widths = [first, free - first] if len(notes) > 1 else [free]
            return [text_height(note.values["text"], width) for note, width in zip(notes, widths, strict=True)]

        first = min(range(free // 2, 3 * free // 4, SLOT), key=lambda width: max(heights(width)))
        for note, width in zip(notes, [first, free - first], strict=False):
            note.place, note.width, note.room = (
                (left, 0),
                width if len(notes) > 1 else free,
                max(heights(first)) - WIDGET,
            )
            left += note.width + BETWEEN
        top = min(frame.box[1] for frame in self.frames) - BETWEEN // 2 - notes[0].height
        for note in notes:
            note.place = (note.place[0], top)

    def to_json(self, name: str) -> dict[str, Any]:
        """The workflow as the editor saves it (version 0.4)."""
        self._place_notes()
        links, nodes = [], []
        for order, node in enumerate(self.nodes):
            nodes.append(_node_json(node, order))
            for slot, socket in enumerate(nodes[-1]["inputs"]):
                if output := node.links.get(socket["name"]):
                    socket["link"] = len(links) + 1
                    links.append([len(links) + 1, output.node.id, output.slot, node.id, slot, socket["type"]])
                    nodes[output.node.id - self.first]["outputs"][output.slot]["links"].append(len(links))
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PACK}/{name}")),
            "revision": 0,
            "last_node_id": nodes[-1]["id"],
            "last_link_id": len(links),
            "nodes": nodes,
            "links": links,
            "groups": [_group_json(number, frame) for number, frame in enumerate(self.frames, 1)],
            "config": {},
            "extra": {"ds": {"scale": 0.7, "offset": [60, 80 - self.nodes[0].place[1]]}, **self.app},
            "version": 0.4,
        }


def split_note(markdown: str) -> list[str]:
    """Split a template's Markdown into two notes: what it does, and what to try next."""
    return [part.strip() for part in markdown.split(NEXT)]


def text_height(markdown: str, width: int) -> int:
    """Estimated height of a note in px, slightly too large: paragraphs and lines, without addresses of links."""
    paragraphs = [line for line in re.sub(r"\]\([^)]*\)", "]", markdown).splitlines() if line]
    headings = sum(line.startswith("#") for line in paragraphs)
    lines = sum(ceil(len(line) * LETTER / (width - INDENT)) for line in paragraphs)
    return lines * LINE + len(paragraphs) * PARAGRAPH + headings * HEADING + SPARE


def _output(given: Node | Output, kind: str) -> Output:
    if isinstance(given, Output):
        return given
    fitting = [slot for slot, socket in enumerate(given.kind.outputs) if socket.type == kind]
    if len(fitting) != 1:
        raise ValueError(f"{given.kind.name} has {len(fitting)} outputs of type {kind}; name one")
    return Output(given, fitting[0])


def _node_json(node: Node, order: int) -> dict[str, Any]:
    sockets = [socket for socket in node.kind.inputs if not socket.is_widget]
    made = {
        "id": node.id,
        "type": node.kind.name,
        "pos": list(node.place),
        "size": [node.width, node.height],
        "flags": {},
        "order": order,
        "mode": node.mode,
        "inputs": [_input_json(socket) for socket in sockets],
        "outputs": [{"name": s.name, "type": s.type, "links": []} for s in node.kind.outputs],
        "properties": {"Node name for S&R": node.kind.name, "cnr_id": node.kind.origin},
        "widgets_values": _widget_values(node),
    }
    if node.models:
        made["properties"]["models"] = list(node.models)
    if node.title:
        made["title"] = node.title
    if node.kind.name == NOTE:
        made |= {"properties": {TEXT_SIZE: TEXT}, "color": "#432", "bgcolor": "#653"}
    return made


def _input_json(socket: Socket) -> dict[str, Any]:
    shape = {"shape": 7} if socket.optional else {}  # a hollow dot
    return {"name": socket.name, "type": socket.type, "link": None, **shape}


def _widget_values(node: Node) -> list[Any]:
    values = []
    for socket in (s for s in node.kind.inputs if s.is_widget):
        values.append(node.values[socket.name])
        if socket.control:
            values.append("fixed")
        values += [node.values[f"{socket.name}.{inner.name}"] for inner in socket.nested.get(values[-1], ())]
    return values


def _group_json(number: int, frame: Frame) -> dict[str, Any]:
    return {
        "id": number,
        "title": frame.title,
        "bounding": list(frame.box),
        "color": frame.color,
        "font_size": 24,
        "flags": {},
    }
