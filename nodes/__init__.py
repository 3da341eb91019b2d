"""ComfyUI nodes: thin adapters from a schema to one call of the library and back to ComfyUI's layouts."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import host
from .adapt import NADAImageAdapt, NADATextAdapt, NADATrainingOptions
from .adapt_many import NADAAdaptMany
from .animate import NADABeforeAfterAnimation, NADALatentWalk
from .blend import NADABlendGenerators
from .compare import NADACompareGrid
from .direction import NADATextDirection
from .encoder import NADALoadEncoder
from .evaluate import NADAEvaluate
from .invert import NADAInvertPhoto, NADATuneToPhoto
from .latents import NADAEditLatents, NADAInterpolateLatents, NADALoadLatents, NADAMixLatents
from .load import LoadStyleGAN2, NADALoadCLIP, NADASaveGenerator
from .mapper import NADAApplyMapper, NADALoadMapper, NADASaveMapper, NADATrainMapper
from .photo import NADAAlignPhoto, NADAPasteBack
from .sample import GenerateImages, SampleLatents
from .snapshots import NADAPickSnapshot
from .style import NADAApplyStyle, NADALoadStyle, NADASaveStyle

NODES = (
    LoadStyleGAN2,
    NADALoadCLIP,
    NADATextAdapt,
    NADAImageAdapt,
    NADATrainingOptions,
    NADAAdaptMany,
    NADAPickSnapshot,
    SampleLatents,
    NADALoadLatents,
    NADAMixLatents,
    NADAInterpolateLatents,
    NADAEditLatents,
    GenerateImages,
    NADACompareGrid,
    NADABeforeAfterAnimation,
    NADALatentWalk,
    NADAAlignPhoto,
    NADALoadEncoder,
    NADAInvertPhoto,
    NADATuneToPhoto,
    NADAPasteBack,
    NADAEvaluate,
    NADASaveGenerator,
    NADALoadStyle,
    NADAApplyStyle,
    NADABlendGenerators,
    NADATextDirection,
    NADASaveStyle,
    NADATrainMapper,
    NADAApplyMapper,
    NADALoadMapper,
    NADASaveMapper,
)


class NADAExtension(ComfyExtension):
    """The pack's extension, which tells ComfyUI its nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        host.register_folders()  # before any schema lists files; ComfyUI 0.8.0 does not call on_load
        return [*NODES]
