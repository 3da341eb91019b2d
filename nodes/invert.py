"""Nodes that find the latent codes of photos, and that tune a generator to a photo (projection, pivotal tuning)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..nada import (
    ClipEnsemble,
    Encoder,
    PhotoStore,
    ProjectConfig,
    Projection,
    Style,
    TuneConfig,
    Tuning,
    UsageError,
    comparison,
    fitting_squares,
    generate,
    inversion_errors,
    save_style,
    smooth_latents,
    sparing,
)
from ..nada.generators import Generator
from ..nada.photo.invert import SHOWN
from ..nada.settings import settings_of
from . import host
from .live import Live, Result, Step, follow
from .sockets import (
    PHOTOS,
    NADAClip,
    NADAEncoder,
    NADAGenerator,
    NADALatents,
    NADAStyle,
    known_options,
    preview_every,
    training_seed,
    widget,
)
from .training import spared

PROJECT, TUNE = settings_of(ProjectConfig), settings_of(TuneConfig)
NAME = "photo"  # name of a stored run


class NADAInvertPhoto(io.ComfyNode):
    """Find the latent codes of photos (GAN inversion)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAInvertPhoto",
            display_name="Invert Photo (StyleGAN)",
            category=PHOTOS,
            description="Finds the latent codes of aligned photos, so that every adaptation, edit and walk works on "
            "them: by an encoder at once, by optimization for any generator, or by both. Shows photo, inversion and "
            "error side by side. Cancel stops it within one iteration; the next Run continues from there.",
            inputs=[
                NADAGenerator.Input(
                    "generator", tooltip="A generator of photos, never an adapted one. It is not changed."
                ),
                io.Image.Input(
                    "photo",
                    tooltip="Change this first: the square from Align Photo, or pictures that are aligned "
                    "already; also several at once, such as the frames of a video. Only the square in the middle of "
                    "each is used.",
                ),
                NADAClip.Input(
                    "clip",
                    optional=True,
                    tooltip="CLIP models whose features are compared too, place by place. Without them, pixels are "
                    "compared, and LPIPS if it is installed.",
                ),
                NADAEncoder.Input(
                    "encoder",
                    optional=True,
                    tooltip="Encoder for this generator. It finds the codes to start from.",
                ),
                io.Boolean.Input(
                    "optimize",
                    default=True,
                    tooltip="Optimize the codes. If off, the codes of the encoder are the result.",
                ),
                widget(PROJECT["w_iterations"], 10_000, main=True),
                widget(PROJECT["plus_iterations"], 10_000, main=True),
                io.Float.Input(
                    "smooth",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.5,
                    tooltip="Smoothing of the codes over the frames of a video of one face: standard deviation in "
                    "frames; 0 for none.",
                ),
                training_seed(),
                preview_every(),
                widget(PROJECT["pull"], 100.0),
                widget(PROJECT["learning_rate"], 10.0),
                widget(PROJECT["pyramid_weight"], 100.0),
                widget(PROJECT["clip_weight"], 100.0),
            ],
            outputs=[
                NADALatents.Output("latents", tooltip="One code per photo, for Generate Images with any adaptation."),
                io.Image.Output(
                    "comparison",
                    tooltip="One picture: photos, their inversions, and the error four times as strong.",
                ),
            ],
            is_output_node=True,
            **known_options(
                search_aliases=["gan inversion", "projector", "own photo", "e4e", "encode photo", "photo to latent"]
            ),
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        photo: Tensor,
        optimize: bool = True,
        smooth: float = 0.0,
        preview_every: int = 10,
        clip: ClipEnsemble | None = None,
        encoder: Encoder | None = None,
        **options: Any,
    ) -> io.NodeOutput:
        config = ProjectConfig(**options)
        with host.on_device(*_modules(generator, clip, encoder)) as device, host.normal_tensors():
            photos = fitting_squares(host.from_image(photo), generator).to(device)
            start = None if encoder is None else encoder.encode(photos, generator)
            if optimize:
                live = LiveProjection(generator, lambda: Projection(generator, photos, config, clip, start))
                ws = follow(live, preview_every)
            elif start is not None:
                ws = start.cpu()
            else:
                raise UsageError("optimize is off and there is no encoder; connect one, or switch optimize on")
            ws = smooth_latents(ws, smooth)
            images = generate(generator, ws)
        errors = inversion_errors(photos.cpu(), images)
        many = "1 photo" if len(ws) == 1 else f"{len(ws)} photos"
        host.say(f"{many} | images off by {100 * float(errors.mean()):.1f} %")
        image = host.picture_to_image(comparison(photos, images))
        return io.NodeOutput(ws, image, ui=ui.PreviewImage(image, cls=cls))


class NADATuneToPhoto(io.ComfyNode):
    """Tune a generator to photos (pivotal tuning), and return the change as a style."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADATuneToPhoto",
            display_name="Tune to Photo (StyleGAN)",
            category=PHOTOS,
            description="Trains a copy of the generator until it shows a photo at its code, and gives the change as a "
            "style: a likeness. Applied before or after the style of an adaptation, it makes the result more like the "
            "person. Cancel stops it within one iteration and saves the likeness so far.",
            inputs=[
                NADAGenerator.Input(
                    "generator", tooltip="The generator that the codes are for, not an adapted one. It is not changed."
                ),
                io.Image.Input("photo", tooltip="The same photos as for Invert Photo."),
                NADALatents.Input("latents", tooltip="The codes of the photos, from Invert Photo."),
                NADAClip.Input(
                    "clip", optional=True, tooltip="CLIP models whose features are compared too, place by place."
                ),
                widget(TUNE["iterations"], 10_000, main=True),
                io.Float.Input(
                    "learning_rate",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    tooltip="Step size of Adam. 0: the one that suits the generator's width.",
                ),
                io.Int.Input(
                    "rank",
                    default=0,
                    min=0,
                    max=512,
                    tooltip="Rank of the saved likeness: 8 or 16 make a small file. 0 keeps everything.",
                ),
                preview_every(),
                widget(TUNE["train"]),
                widget(TUNE["pyramid_weight"], 100.0),
                widget(TUNE["clip_weight"], 100.0),
            ],
            outputs=[
                NADAStyle.Output("style", tooltip="The likeness, for Apply Style and Save Style."),
                io.Image.Output(
                    "comparison", tooltip="One picture: photos, the tuned generator's images, and the error."
                ),
            ],
            is_output_node=True,
            **known_options(search_aliases=["pti", "pivotal tuning", "likeness", "fine-tune", "own photo", "identity"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        photo: Tensor,
        latents: Tensor,
        learning_rate: float = 0.0,
        rank: int = 0,
        preview_every: int = 10,
        clip: ClipEnsemble | None = None,
        **options: Any,
    ) -> io.NodeOutput:
        config = TuneConfig(learning_rate=learning_rate or None, **options)
        with host.on_device(*_modules(generator, clip)) as device, host.normal_tensors():
            photos = fitting_squares(host.from_image(photo), generator).to(device)
            ws = latents.to(device)
            live = LiveTuning(generator, lambda: Tuning(generator, ws, photos, config, clip), rank or None)
            style, picture = follow(live, preview_every)
        image = host.picture_to_image(picture)
        return io.NodeOutput(style, image, ui=ui.PreviewImage(image, cls=cls))


def _modules(*found: Any) -> list[Any]:
    """Return the inputs that are connected."""
    return [module for module in found if module is not None]


class LivePhoto(Live[Result]):
    """A projection or tuning on the device where the models are. A stopped one resumes.

    Args:
        make: function that makes the loop at its start.
    """

    out_of_memory = "out of memory, even one photo at a time: close other programs, or take a smaller generator or CLIP"

    def __init__(self, make: Callable[[], Any]):
        self.store: Any = PhotoStore(host.runs_folder(), make, NAME)
        self.loop = self.store.loop
        self.total, self.begin = len(self.loop), self.loop.iteration
        if 0 < self.begin < self.total:
            host.say(f"continues after iteration {self.begin}")

    def steps(self) -> Iterator[Step]:
        return sparing(self.store, self.loop, spared, host.is_out_of_memory)

    @abstractmethod
    def network(self) -> Generator:
        """Return the generator as it is now."""

    def picture(self) -> Image.Image:
        """Return one picture: photos, the generator's images now, and the error."""
        ws = self.loop.ws[:SHOWN]  # all that a comparison shows
        return comparison(self.loop.photos, generate(self.network(), ws, batch=self.loop.images_at_once))

    def keep(self) -> str:
        if self.loop.iteration == self.begin:
            return ""
        self.store.keep()
        return f"stopped after iteration {self.loop.iteration}; the next run continues from there"

    def close(self) -> None:
        del self.loop, self.store


class LiveProjection(LivePhoto[Tensor]):
    """A projection, which returns the codes on the CPU."""

    def __init__(self, generator: Generator, make: Callable[[], Projection]):
        super().__init__(make)
        self.generator = generator

    def network(self) -> Generator:
        return self.generator

    def result(self, picture: Image.Image) -> Tensor:
        self.store.keep()
        return self.loop.ws.cpu()

    def close(self) -> None:
        super().close()
        del self.generator


class Likeness(NamedTuple):
    """Result of a tuning."""

    style: Style
    comparison: Image.Image


class LiveTuning(LivePhoto[Likeness]):
    """A tuning, which returns a style."""

    def __init__(self, generator: Generator, make: Callable[[], Tuning], rank: int | None):
        super().__init__(make)
        self.rank = rank

    def network(self) -> Generator:
        return self.loop.trained

    def result(self, picture: Image.Image) -> Likeness:
        self.store.keep()
        return Likeness(self.loop.style(rank=self.rank), picture)

    def keep(self) -> str:
        words = super().keep()
        if not words:
            return ""
        saved = "the likeness so far is saved as the style"
        return words + host.save_cancelled(save_style, self.loop.style(rank=self.rank), "likeness", host.STYLES, saved)
