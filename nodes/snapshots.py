"""Node that picks a snapshot of a training, from a training node or from a run folder."""

from __future__ import annotations

from comfy_api.latest import io, ui
from torch import Tensor

from ..nada import RunFolder, Snapshot, Snapshots, UsageError, file_stamp, generate_samples
from ..nada.generators import Generator
from ..nada.pictures.grids import filmstrip, filmstrip_geometry
from . import host
from .sample import generation_bytes
from .sockets import TRAINING, NADAGenerator, NADASnapshots, known_options

BEST, LAST, STEP = "best", "last", "step"
CONNECTED = "(from snapshots)"
PSI = 0.7
START = "start"  # label of the column before the training


class NADAPickSnapshot(io.ComfyNode):
    """Pick a snapshot of a training: the generator as it was at an iteration."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAPickSnapshot",
            display_name="NADA Pick Snapshot (StyleGAN)",
            category=TRAINING,
            description="Takes a snapshot of a training: the generator as it was at an earlier iteration, without "
            "training again. Earlier snapshots keep more of the original. Click a column of the filmstrip to pick it.",
            inputs=[
                NADASnapshots.Input(
                    "snapshots",
                    optional=True,
                    tooltip="Snapshots from NADA Text Adapt or NADA Image Adapt. Leave it open to choose a run below.",
                ),
                NADAGenerator.Input(
                    "generator",
                    optional=True,
                    tooltip="The generator that the training or the run below started from. If no snapshots arrive, as "
                    "when the training is bypassed, it passes through unchanged.",
                ),
                io.Combo.Input(
                    "pick",
                    options=[BEST, LAST, STEP],
                    default=BEST,
                    tooltip="Change this first. 'best' is a suggestion: the most varied of the snapshots that CLIP "
                    "finds nearly as close to the target as the closest. 'last' is the end of the training. 'step' is "
                    "the snapshot nearest to the number below.",
                ),
                io.Int.Input(
                    "step",
                    default=100,
                    min=1,
                    max=100_000,
                    tooltip="Iteration of the snapshot, only for pick = step. The nearest snapshot is taken.",
                ),
                io.Int.Input(
                    "rows",
                    default=3,
                    min=1,
                    max=8,
                    optional=True,
                    tooltip="Number of latents that the filmstrip shows, one per row.",
                ),
                io.Combo.Input(
                    "run",
                    options=[CONNECTED, *host.runs()],
                    default=CONNECTED,
                    optional=True,
                    tooltip="Run in models/stylegan_runs or output/stylegan_runs: of these nodes, or a folder of "
                    "`nada adapt`. Needs the generator that it started from. After adding one, press R.",
                ),
            ],
            outputs=[
                NADAGenerator.Output(
                    "generator", tooltip="The generator of the snapshot, for Generate Images and Save StyleGAN2."
                ),
                io.Image.Output("filmstrip", tooltip="One picture: a column for each snapshot, a row for each latent."),
                io.Int.Output("iteration", tooltip="The iteration of the picked snapshot."),
            ],
            is_output_node=True,
            **known_options(search_aliases=["snapshot", "checkpoint", "early stopping", "filmstrip", "training step"]),
        )

    @classmethod
    def validate_inputs(cls, run: str | None = None) -> bool | str:
        """Accept any name; a run that is gone is explained when the node runs."""
        return True

    @classmethod
    def fingerprint_inputs(cls, run: str = CONNECTED, **_: object) -> str:
        if run in (None, CONNECTED):
            return CONNECTED
        try:
            files = RunFolder(host.run_path(run)).snapshot_files().values()
        except UsageError:
            return run
        return " ".join(map(file_stamp, files))

    @classmethod
    @host.explained
    def execute(
        cls,
        pick: str,
        step: int,
        snapshots: Snapshots | None = None,
        generator: Generator | None = None,
        rows: int = 3,
        run: str = CONNECTED,
    ) -> io.NodeOutput:
        if snapshots is None and run == CONNECTED and generator is not None:
            host.say("no snapshots arrived, perhaps because the training is bypassed; the generator passes through")
            return io.NodeOutput(generator, host.picture_to_image(filmstrip([column_of(START, generator, rows)])), 0)
        found = opened(snapshots, generator, run)
        picked = choose(found, pick, step)
        frames = frames_of(found, rows)
        host.say(f"iteration {picked.iteration}: agreement {picked.agreement:.2f}, variety {picked.variety:.0%}")
        strip = host.picture_to_image(filmstrip(frames))
        shown = {  # for web/filmstrip.js, in place of an ordinary preview
            "filmstrip": ui.PreviewImage(strip, cls=cls).as_dict()["images"],
            "geometry": [filmstrip_geometry(frames)],
            "moments": [snapshot.iteration for snapshot in found.all],
            "picked": [picked.iteration],
        }
        return io.NodeOutput(found.generator(picked), strip, picked.iteration, ui=shown)


def opened(snapshots: Snapshots | None, generator: Generator | None, run: str) -> Snapshots:
    """Return the snapshots of the socket, or of the chosen run.

    Raises:
        UsageError: there is neither, or the run started from another generator.
    """
    if run != CONNECTED:
        if generator is None:
            raise UsageError("connect the generator that the run started from to the input generator")
        return RunFolder(host.run_path(run)).open_snapshots(generator)
    if snapshots is None:
        raise UsageError(
            "no snapshots arrived: connect those of NADA Text Adapt, and switch that node on if it is bypassed or "
            "muted; or choose a run and connect its generator"
        )
    return snapshots


def choose(snapshots: Snapshots, pick: str, step: int) -> Snapshot:
    """Return the snapshot that the widgets ask for.

    Args:
        snapshots: the snapshots of a training.
        pick: `BEST`, `LAST` or `STEP`.
        step: iteration near which to pick, only for `STEP`.
    """
    if pick == STEP:
        return snapshots.nearest(step)
    return snapshots.best if pick == BEST else snapshots.last


def column_of(label: str, generator: Generator, rows: int) -> tuple[str, Tensor]:
    """Return a column of a filmstrip: its label, and a generator's images [rows, C, H, W] of the same latents."""
    with host.on_device(generator, needs=generation_bytes(generator, batch=1)):
        return label, generate_samples(generator, rows, truncation_psi=PSI, batch=1)


def frames_of(snapshots: Snapshots, rows: int) -> list[tuple[str, Tensor]]:
    """Return the columns of a filmstrip: the start and every snapshot, with images of the same latents.

    Args:
        snapshots: the snapshots of a training.
        rows: number of latents.

    Returns:
        (label, images [rows, C, H, W]) for each column.
    """
    progress = host.Progress(1 + len(snapshots.all))
    progress.update(0)
    frames = [column_of(START, snapshots.base, rows)]
    for snapshot in snapshots.all:
        progress.update(len(frames))
        frames.append(column_of(str(snapshot.iteration), snapshots.generator(snapshot), rows))
    return frames
