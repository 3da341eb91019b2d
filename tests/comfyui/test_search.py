"""The node search finds the right node for words of newcomers, by the frontend's ranking over all nodes of a server."""

from __future__ import annotations

import re

import pytest
from helpers.comfyui_server import HOME

WANTED = {  # query: nodes of which one must be among the first results
    "stylegan": {"LoadStyleGAN2", "NADATextAdapt"},
    "gan": {"NADATextAdapt"},
    "text to domain": {"NADATextAdapt"},
    "train gan": {"NADATextAdapt"},
    "sketch": {"NADATextAdapt"},
    "pixar": {"NADATextAdapt"},
    "text adapt": {"NADATextAdapt"},
    "load stylegan": {"LoadStyleGAN2"},
    "latent walk": {"NADALatentWalk"},
}
FIRST = 5
WORDS = re.compile(r" |\b|(?<=[a-z])(?=[A-Z])|(?=[A-Z][a-z])")
POPULARITY = "/assets/sorted-custom-node-map.json"

pytestmark = pytest.mark.skipif(not HOME, reason="COMFYUI_PATH does not name a checkout of ComfyUI")


def rank(query: str, text: str) -> tuple[int, float, int]:
    """Rank of a name for a query, smaller is better: class, place and length, as in the frontend's fuseUtil.ts."""
    words = [word.lower() for word in WORDS.split(text)]
    text, parts = text.lower(), query.split(" ")
    near = text.find(query) + len(text) / 2, len(text)
    if text == query:
        return 0, 0, 0
    if text.startswith(query):
        return 1, 0, len(text)
    if query in words:
        return 2, *near
    if query in text:
        return 3, *near
    if all(part in words for part in parts):
        places = [words.index(part) for part in parts]
        return 4, max(places) * 1.5 - min(places) + len(text) / 2, len(text)
    if all(part in text for part in parts):
        first = min(text.index(part) for part in parts)
        last = max(text.index(part) + len(part) for part in parts)
        return 5, last * 1.5 - first + len(text) / 2, len(text)
    return 9, 0, 0


def found(query: str, nodes: dict, popularity: dict) -> list[str]:
    """Nodes that the search shows, in order: by class, then by the popularity of the node's id.

    All words of the query must be in one name or alias. Nodes found only by an alias are in the last class; those with
    exactly the query as an alias come first.
    """
    ranked = []
    for name, node in nodes.items():
        names = [text for text in (name, node["display_name"]) if text]
        aliases = [alias.lower() for alias in node.get("search_aliases") or ()]
        if any(all(part in text for part in query.split(" ")) for text in (*map(str.lower, names), *aliases)):
            best = min(rank(query, text) for text in names)
            ranked.append(((best[0], -popularity.get(name, 0), *best[1:], query not in aliases), name))
    return [name for _, name in sorted(ranked)]


@pytest.mark.parametrize("query", WANTED)
def test_the_right_node_is_among_the_first(server, query):
    nodes, popularity = server.get("/object_info"), server.get(POPULARITY)
    assert len(nodes) > 300
    if not any("search_aliases" in node for node in nodes.values()):
        pytest.skip("this ComfyUI is older than 0.11, whose search knows no aliases")
    first = found(query, nodes, popularity)[:FIRST]
    assert WANTED[query] & set(first), f"{query!r} shows {first}"


def test_display_names_follow_one_pattern(server):
    """Nodes that train begin with StyleGAN-NADA; all others end with StyleGAN or name the kind of file."""
    ours = {name: node for name, node in server.get("/object_info").items() if "StyleGAN-NADA" in node["category"]}
    for name, node in ours.items():
        text = node["display_name"]
        assert text.startswith("StyleGAN-NADA ") or text.endswith((" (StyleGAN)", " StyleGAN2")), text
        assert name.startswith("NADA") or name in ("LoadStyleGAN2", "SampleLatents", "GenerateImages")
