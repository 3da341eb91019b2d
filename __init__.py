"""ComfyUI's way in. Nothing is imported until ComfyUI asks, so the folder also imports where ComfyUI is absent."""

from __future__ import annotations

import logging
from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """The pack's extension: what ComfyUI's loader calls."""
    try:
        from .nodes import NADAExtension
    except Exception:
        # ComfyUI prints only the message of what an entry point raises; a report needs the traceback too.
        logging.getLogger(__name__).exception("StyleGAN-NADA could not be loaded")
        raise
    return NADAExtension()
