"""Nodes that train, apply, save and load a latent mapper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..nada import (
    ClipEnsemble,
    LatentMapper,
    MapperConfig,
    MapperStep,
    MapperStore,
    MapperTraining,
    UsageError,
    generate,
    load_mapper,
    sample_latents,
    save_mapper,
    slug,
    train_mapper,
)
from ..nada.clip.alphabet import unreadable_remark
from ..nada.generators import Generator
from ..nada.pictures.fonts import unwritable_remark
from ..nada.pictures.grids import before_after
from ..nada.settings import settings_of
from . import host
from .adapt_inputs import given, views
from .live import Live, follow
from .sockets import (
    ADVANCED,
    LATENTS,
    LOADING,
    SAVING,
    TRAINING,
    NADAClip,
    NADAGenerator,
    NADALatents,
    NADAMapper,
    known_options,
    preview_every,
    preview_images,
    training_seed,
    widget,
)

CONFIG = settings_of(MapperConfig)
BANDS = ["coarse,middle,fine", "coarse,middle", "middle,fine", "coarse", "middle", "fine"]
NO_FILES = "(no mapper yet: make one with Save Latent Mapper)"


class NADATrainMapper(io.ComfyNode):
    """Train a latent mapper, the second stage of StyleGAN-NADA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADATrainMapper",
            display_name="NADA Train Latent Mapper (StyleGAN)",
            category=TRAINING,
            description="Trains a small network that moves latent codes to where a generator shows the target text. "
            "Use it for adapted generators that show the target only sometimes, such as dogs among the pigs. Cancel "
            "stops it within one iteration and saves the mapper so far.",
            inputs=[*_main_inputs(), *_advanced_inputs()],
            outputs=[
                NADAMapper.Output("mapper", tooltip="The trained mapper, for NADA Apply Latent Mapper."),
                io.Image.Output(
                    "before_after", tooltip="One picture: images of random codes left, of the moved codes right."
                ),
            ],
            is_output_node=True,
            **known_options(search_aliases=["styleclip", "latent mapper", "train mapper", "text edit", "gan mining"]),
        )

    @classmethod
    def validate_inputs(cls, target: str | None = None) -> bool | str:
        if target is not None and not target.strip():  # None: it comes through a link
            return "the target text is empty; write a word or a phrase"
        return True

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        clip: ClipEnsemble,
        preview_every: int = 10,
        preview_images: int = 4,
        **options: Any,
    ) -> io.NodeOutput:
        config = MapperConfig(**given(**options))
        with host.on_device(generator, clip):
            mapper, picture = follow(LiveMapper(generator, clip, config, preview_images), preview_every)
        image = host.picture_to_image(picture)
        return io.NodeOutput(mapper, image, ui=ui.PreviewImage(image, cls=cls))


def _main_inputs() -> list[io.Input]:
    return [
        NADAGenerator.Input(
            "generator", tooltip="The generator whose codes move, usually from NADA Text Adapt; it is not changed."
        ),
        NADAClip.Input("clip", tooltip="The CLIP models that compare pictures with the text, as in the adaptation."),
        io.String.Input(
            "target",
            default="sketch",
            tooltip="Change this first: what the images should show, usually the target of the adaptation, such as "
            "pig.",
        ),
        widget(CONFIG["iterations"], 100_000, main=True),
        widget(CONFIG["batch"], 64, main=True),
        io.Float.Input(
            "learning_rate",
            default=0.0,
            min=0.0,
            max=100.0,
            step=0.01,
            tooltip="Initial step size of Adam. 0: the one that suits the codes' size. Raise it if nothing changes.",
        ),
        training_seed(),
        preview_every(),
    ]


def _advanced_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "bands",
            options=BANDS,
            default=BANDS[0],
            optional=True,
            tooltip=CONFIG["bands"].help + " Leave out fine to keep the colors.",
            extra_dict=ADVANCED,
        ),
        widget(CONFIG["l2_weight"], 100.0),
        widget(CONFIG["norm_weight"], 100.0),
        widget(CONFIG["psi"]),
        views(extra_dict=ADVANCED),
        preview_images(),
    ]


class LiveMapper(Live[tuple[LatentMapper, Image.Image]]):
    """The training of a mapper on the device where the models are. A mapper that is done is not trained again."""

    out_of_memory = "out of memory: lower batch"

    def __init__(self, generator: Generator, clip: ClipEnsemble, config: MapperConfig, preview_images: int):
        self.total, self.config = config.iterations, config
        texts = [config.target]
        self.remarks = [*filter(None, (unreadable_remark(clip, texts), unwritable_remark(texts)))]
        self.codes = sample_latents(generator, preview_images, config.seed, config.psi)
        self.before = generate(generator, self.codes, batch=config.batch)
        self.generator = generator
        self.store = MapperStore(host.runs_folder(), generator, clip, config)
        self.run: MapperTraining | None = None
        if known := self.store.find():
            self.mapper = known
        else:
            self.run = train_mapper(generator, clip, config)
            self.mapper = self.run.mapper

    def steps(self) -> Iterator[MapperStep]:
        return iter(self.run or ())

    def picture(self) -> Image.Image:
        """Return images of random codes, and of the codes that the mapper moves them to."""
        moved = self.mapper(self.codes.to(next(self.mapper.parameters()).device))
        after = generate(self.generator, moved, batch=self.config.batch)
        return before_after(self.before, after, ("before", self.config.target))

    def result(self, picture: Image.Image) -> tuple[LatentMapper, Image.Image]:
        if self.run:
            self.store.keep(self.mapper)
        with host.normal_tensors():
            return self.mapper.requires_grad_(False).cpu(), picture

    def keep(self) -> str:
        if not self.run or not self.run.iteration:
            return ""
        words = "the training so far is saved as the mapper"
        saved = host.save_cancelled(save_mapper, self.run.mapper, slug(self.config.target), host.MAPPERS, words)
        return f"stopped after iteration {self.run.iteration}" + saved

    def close(self) -> None:
        del self.run, self.mapper, self.generator


class NADAApplyMapper(io.ComfyNode):
    """Move latent codes with a latent mapper."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAApplyMapper",
            display_name="NADA Apply Latent Mapper (StyleGAN)",
            category=LATENTS,
            description="Moves latent codes to where the generator that the mapper was trained with shows the target.",
            inputs=[
                NADALatents.Input("latents", tooltip="Latent codes from Sample Latents."),
                NADAMapper.Input("mapper", tooltip="The mapper, from NADA Train Latent Mapper or Load Latent Mapper."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-2.0,
                    max=4.0,
                    step=0.05,
                    tooltip="Change this first: factor of the move. 0 leaves the codes, 1 is as trained, negative "
                    "leads away from the target.",
                ),
            ],
            outputs=[NADALatents.Output("latents", tooltip="The moved codes, for Generate Images.")],
            **known_options(search_aliases=["styleclip", "latent mapper", "edit latent", "move latent"]),
        )

    @classmethod
    @host.explained
    def execute(cls, latents: Tensor, mapper: LatentMapper, strength: float) -> io.NodeOutput:
        with host.normal_tensors():
            return io.NodeOutput(mapper(latents, strength))


class NADASaveMapper(io.ComfyNode):
    """Save a latent mapper to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADASaveMapper",
            display_name="Save Latent Mapper (StyleGAN)",
            category=SAVING,
            description="Saves a latent mapper as .safetensors in output/stylegan_mappers, with its recipe. Load "
            "Latent Mapper lists it.",
            inputs=[
                NADAMapper.Input("mapper", tooltip="The mapper to save, from NADA Train Latent Mapper."),
                io.String.Input(
                    "filename_prefix",
                    default="mapper",
                    tooltip="Change this first: beginning of the file name, such as pig. A number is added, so "
                    "nothing is overwritten.",
                ),
            ],
            outputs=[],
            is_output_node=True,
            **known_options(search_aliases=["save mapper", "safetensors", "styleclip"]),
        )

    @classmethod
    @host.explained
    def execute(cls, mapper: LatentMapper, filename_prefix: str) -> io.NodeOutput:
        path = host.next_save_path(filename_prefix, host.MAPPERS)
        save_mapper(mapper, path, new=True)
        text = host.saved(path)
        host.say(text)
        return io.NodeOutput(ui=ui.PreviewText(text))


class NADALoadMapper(io.ComfyNode):
    """Load a latent mapper from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        files = host.files(host.MAPPERS) or [NO_FILES]
        return io.Schema(
            node_id="NADALoadMapper",
            display_name="Load Latent Mapper (StyleGAN)",
            category=LOADING,
            description="Loads a latent mapper that Save Latent Mapper or `nada mapper` wrote.",
            inputs=[
                io.Combo.Input(
                    "mapper_name",
                    options=files,
                    default=files[0],
                    tooltip="Change this first: files in models/stylegan_mappers and output/stylegan_mappers. After "
                    "adding a file, press R.",
                )
            ],
            outputs=[NADAMapper.Output("mapper", tooltip="The mapper, for NADA Apply Latent Mapper.")],
            **known_options(search_aliases=["load mapper", "styleclip"]),
        )

    @classmethod
    def fingerprint_inputs(cls, mapper_name: str | None) -> str:
        return host.file_key(host.MAPPERS, mapper_name, NO_FILES)

    @classmethod
    @host.explained
    def execute(cls, mapper_name: str) -> io.NodeOutput:
        if mapper_name == NO_FILES:
            raise UsageError("there is no mapper yet; make one with Save Latent Mapper, then press R and choose it")
        mapper = load_mapper(host.file_path(host.MAPPERS, mapper_name))
        target, bands = mapper.metadata.get("target", "unknown target"), ", ".join(mapper.bands)
        host.say(f"{target} | {bands} | {mapper.num_ws} codes of {mapper.w_dim} numbers")
        return io.NodeOutput(mapper)
