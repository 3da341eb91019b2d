"""Choosing among the moments of a training."""

from __future__ import annotations

from comfy_api.latest import io, ui
from torch import Tensor

from ..nada import Snapshot, Snapshots, generate, sample_latents
from ..nada.pictures.grids import filmstrip
from . import host
from .sockets import TRAINING, NADAGenerator, NADASnapshots, known_options

BEST, LAST, STEP = "best", "last", "step"
PSI = 0.7


class NADAPickSnapshot(io.ComfyNode):
    """The generator as it was at a step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAPickSnapshot",
            display_name="NADA Pick Snapshot",
            category=TRAINING,
            description="Takes the generator as it was at a moment of its training, without training again: earlier "
            "ones keep more of the original. Click a picture of the filmstrip to pick it.",
            inputs=[
                NADASnapshots.Input("snapshots", tooltip="From NADA Text Adapt or NADA Image Adapt."),
                io.Combo.Input(
                    "pick",
                    options=[BEST, LAST, STEP],
                    default=BEST,
                    tooltip="Change this first. 'best' is a suggestion: of the moments that CLIP finds nearly as close "
                    "to the target as any, the most varied. 'last' is the end. 'step' is the one nearest to step.",
                ),
                io.Int.Input(
                    "step",
                    default=100,
                    min=1,
                    max=100_000,
                    tooltip="Only for pick = step: training steps done. The nearest moment that was kept is taken.",
                ),
                io.Int.Input(
                    "rows", default=3, min=1, max=8, optional=True, tooltip="How many latents the filmstrip follows."
                ),
            ],
            outputs=[
                NADAGenerator.Output(
                    "generator", tooltip="The generator at that moment, for Generate Images and Save StyleGAN2."
                ),
                io.Image.Output("filmstrip", tooltip="One picture: a column for each moment, a row for each latent."),
                io.Int.Output("iteration", tooltip="The step that was picked."),
            ],
            is_output_node=True,
            **known_options(search_aliases=["snapshot", "checkpoint", "early stopping", "filmstrip", "training step"]),
        )

    @classmethod
    @host.explained
    def execute(cls, snapshots: Snapshots, pick: str, step: int, rows: int = 3) -> io.NodeOutput:
        picked = choose(snapshots, pick, step)
        frames = frames_of(snapshots, rows)
        host.say(f"step {picked.iteration}: agreement {picked.agreement:.2f}, variety {picked.variety:.0%}")
        strip = host.picture_to_image(filmstrip(frames))
        shown = {  # for web/filmstrip.js, in place of an ordinary preview
            "filmstrip": ui.PreviewImage(strip, cls=cls).as_dict()["images"],
            "moments": [s.iteration for s in snapshots.moments],
            "picked": [picked.iteration],
        }
        return io.NodeOutput(snapshots.generator(picked), strip, picked.iteration, ui=shown)


def choose(snapshots: Snapshots, pick: str, step: int) -> Snapshot:
    """The moment that the widgets ask for."""
    if pick == STEP:
        return snapshots.nearest(step)
    return snapshots.best if pick == BEST else snapshots.last


def frames_of(snapshots: Snapshots, rows: int) -> list[tuple[str, Tensor]]:
    """The start and every moment, each with the images of the same latents."""
    base = snapshots.base
    codes = sample_latents(base, rows, truncation_psi=PSI)
    progress, frames = host.Progress(1 + len(snapshots.moments)), []
    for label, generator in (
        ("start", base),
        *((str(s.iteration), snapshots.generator(s)) for s in snapshots.moments),
    ):
        progress.update(len(frames))
        with host.on_device(generator):
            frames.append((label, generate(generator, codes, batch=1)))
    return frames
