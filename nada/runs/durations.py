"""Format durations for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format seconds as text: "8 s", "1 min 35 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
