"""Entry point for ComfyUI. Nothing is imported until ComfyUI asks, so the folder can be imported without ComfyUI."""

from __future__ import annotations

import logging
from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """Return the pack's extension, for ComfyUI's loader."""
    try:
        from .nodes import NADAExtension
    except Exception:
        # ComfyUI prints only the message of an error in an entry point; a bug report needs the traceback too.
        logging.getLogger(__name__).exception("StyleGAN-NADA could not be loaded")
        raise
    return NADAExtension()
