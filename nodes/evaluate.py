"""Node that measures an adaptation."""

from __future__ import annotations

from itertools import islice

from comfy_api.latest import io, ui

from ..nada import ClipEnsemble, EvaluateConfig, evaluate, image_count, judge_for, measures_for, report
from ..nada.clip.alphabet import unreadable_remark
from ..nada.clip.prompts import text_shares
from ..nada.generators import Generator
from ..nada.settings import settings_of
from . import host
from .sample import CHUNK_BYTES, weight_bytes
from .sockets import ADVANCED, IMAGES, MAX_SEED, NADAClip, NADAGenerator, known_options

SHOWN = 4  # figures on the node; all of them are in the report
CONFIG = settings_of(EvaluateConfig)


class NADAEvaluate(io.ComfyNode):
    """Measure quality, diversity and likeness to the source; on the demo world, also by its judge."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAEvaluate",
            display_name="NADA Evaluate (StyleGAN)",
            category=IMAGES,
            description="Measures a generator: how well its pictures fit the target (Quality), how much they differ "
            "(Diversity), and whether each is still the picture it came from. With 95 % intervals.",
            inputs=[
                NADAGenerator.Input("generator", tooltip="The adapted generator."),
                NADAClip.Input(
                    "clip",
                    tooltip="The CLIP models that measure. Those that the generator was trained with flatter it; for "
                    "real models take another, such as ViT-L/14.",
                ),
                io.String.Input(
                    "target",
                    default="sketch",
                    tooltip="Change this first: what the pictures should look like, usually the target of the "
                    "adaptation.",
                ),
                io.Int.Input(
                    "count", default=50, min=2, max=5000, tooltip="Pictures per repetition. Published figures use 1000."
                ),
                io.Int.Input(
                    "repetitions",
                    default=3,
                    min=1,
                    max=50,
                    tooltip="Repetitions with other latents, for the intervals.",
                ),
                NADAGenerator.Input(
                    "base",
                    optional=True,
                    tooltip="The generator before its adaptation; needed for figures that compare before and after.",
                ),
                io.Float.Input(
                    "truncation_psi",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    optional=True,
                    tooltip=CONFIG["psi"].help,
                    extra_dict=ADVANCED,
                ),
                io.Int.Input(
                    "seed",
                    default=EvaluateConfig.first_seed,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=False,
                    optional=True,
                    tooltip=CONFIG["first_seed"].help,
                    extra_dict=ADVANCED,
                ),
            ],
            outputs=[io.String.Output("report", tooltip="The table, with everything that the figures depend on.")],
            is_output_node=True,
            **known_options(search_aliases=["metrics", "quality", "diversity", "clip score", "benchmark", "fid"]),
        )

    @classmethod
    def validate_inputs(cls, target: str | None = None) -> bool | str:
        if target is not None and not target.strip():  # None: it comes through a link
            return "the target text is empty; write what the pictures should look like"
        return True

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        clip: ClipEnsemble,
        target: str,
        count: int,
        repetitions: int,
        base: Generator | None = None,
        truncation_psi: float = 1.0,
        seed: int = EvaluateConfig.first_seed,
    ) -> io.NodeOutput:
        config = EvaluateConfig(target, count=count, seeds=repetitions, first_seed=seed, psi=truncation_psi, batch=4)
        progress = host.Progress(image_count(config, base))
        models = (generator, clip, *(() if base is None else (base,)))
        with host.on_device(*models, needs=weight_bytes(*models) + CHUNK_BYTES) as device:
            judge = judge_for(base or generator, device)
            extra = measures_for(judge, config.target) if judge else None
            result = evaluate(generator, clip, config, base, extra, progress.add)
        text = report(result)
        figures = (f"{name} {found['mean']:.3f}" for name, found in result["measures"].items())
        host.say(" | ".join(filter(None, (*islice(figures, SHOWN), unreadable_remark(clip, text_shares(target))))))
        return io.NodeOutput(text, ui=ui.PreviewText(text))
