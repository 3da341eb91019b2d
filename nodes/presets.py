"""The menu of presets for the button that writes them into the widgets (web/editor.js)."""

from __future__ import annotations

from typing import Any

from ..nada import PRESETS
from ..nada.clip.loading import PAPER_SPEC

GENERAL = "any generator"


def menu() -> dict[str, list[dict[str, Any]]]:
    """Return the presets by what the generator makes: {"faces": [{"name", "settings", "why", "clip"}]}.

    "settings" are fields of `AdaptConfig`, "clip" is a specification for `load_clip`, or "" for the paper's models.
    Presets for kinds of change in general come first.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, preset in PRESETS.items():
        group = GENERAL if preset.kind == "general" else preset.domain
        clip = "" if preset.clip == PAPER_SPEC else preset.clip
        entry = {"name": name, "settings": preset.settings, "why": preset.why, "clip": clip}
        groups.setdefault(group, []).append(entry)
    return groups
