"""The workflows that come with the pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from graph import BLUE, GRAY, GREEN, MUTED, ORANGE, PURPLE, Graph, Group, Kind, Node

from nada.published.catalog import PUBLISHED_CLIPS, find_published
from nada.training.presets import PRESETS, SELDOM

NOTES = Path(__file__).parent / "notes"
OPENAI = "ViT-B/32 + ViT-B/16 (OpenAI, downloads 1.2 GB on first use)"
SAID, PICTURE = 34, 330  # px of room for a line of text, and for pictures before and after
NARROW, WIDE, LARGE = 300, 440, 480  # px of columns
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
CHECKPOINT_URL = f"https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{CHECKPOINT}"
TEMPLATES: dict[str, Callable[[Start], Graph]] = {}

# What looks good on the demo's generators, where it differs from what their files recommend.
DEMO_FACES = {"iterations": 75}
DEMO_PIXAR = {"target": "3d render in the style of Pixar", "iterations": 40}
DEMO_PIG = {**SELDOM, "source": "dog", "target": "pig", "layers": "auto", "iterations": 300}


class Start:
    """What the workflows begin with: a note and models, the demo's or published ones."""

    def __init__(self, kinds: Mapping[str, Kind], name: str):
        self.kinds, self.name = kinds, name

    @property
    def title(self) -> str:
        """Of the files that it saves."""
        return f"stylegan-nada/{self.name}"

    def graph(self) -> Graph:
        """An empty one with its note."""
        return Graph(self.kinds, (NOTES / f"{self.name}.md").read_text(encoding="utf-8").strip())


def template(build: Callable[[Start], Graph]) -> Callable[[Start], Graph]:
    """Adds a workflow with the name of the function."""
    TEMPLATES[build.__name__] = build
    return build


def demo_models(graph: Graph, generator: str = "demo") -> tuple[Node, Node]:
    """One of the demo's generators, of dogs or of people, and its CLIP."""
    return graph.add("LoadStyleGAN2", room=SAID, generator_name=generator), graph.add("NADALoadCLIP", room=SAID)


def published_models(graph: Graph, name: str) -> tuple[Node, Node]:
    """A published generator and OpenAI's CLIP models."""
    model = find_published(name)
    file = {"name": model.file, "url": model.url, "directory": "stylegan"}
    clips = [{"name": clip.file, "url": clip.url, "directory": "open_clip"} for clip in PUBLISHED_CLIPS]
    generator = graph.add("LoadStyleGAN2", room=SAID, generator_name=f"(download) {model.label}", models=[file])
    return generator, graph.add("NADALoadCLIP", room=SAID, clip_name=OPENAI, models=clips)


def adapt(graph: Graph, base: Node, clip: Node, title: str | None = None, **settings: Any) -> Node:
    """The training. What is not set is left to the generator's file, or is the default."""
    return graph.add("NADATextAdapt", title, PICTURE, generator=base, clip=clip, **settings)


def preset_adapt(graph: Graph, base: Node, clip: Node, preset: str) -> Node:
    """The training with a preset, which the widgets repeat, so that they say what runs."""
    return adapt(graph, base, clip, preset=preset, **PRESETS[preset].settings)


def models_and_latents(graph: Graph, base: Node, clip: Node, what: str, **options: Any) -> Node:
    """The first column, wide enough for the names of the models."""
    latents = graph.add("SampleLatents", generator=base, **options)
    graph.column(
        WIDE if base.models else NARROW,
        Group("1 Models", BLUE, [base, clip]),
        Group(f"Latents: which {what}", BLUE, [latents]),
    )
    return latents


@template
def quickstart(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    latents = models_and_latents(graph, base, clip, "dogs")
    adapted = adapt(graph, base, clip)
    before = graph.add("GenerateImages", "Before", generator=base, latents=latents)
    after = graph.add("GenerateImages", "After", generator=adapted, latents=latents)
    pair = graph.add("ImageStitch", "Before | After", image1=before, image2=after)
    keep = graph.add("NADASaveGenerator", mode=MUTED, generator=adapted, filename_prefix="sketch")
    large = graph.add("ImageScaleBy", image=pair)
    save = graph.add("SaveImage", room=450, images=large, filename_prefix=start.title)
    graph.column(WIDE, Group("2 Adapt", ORANGE, [adapted]))
    graph.column(NARROW, Group("3 Compare", GREEN, [before, after, pair]), Group("Keep (switched off)", GRAY, [keep]))
    graph.column(LARGE, Group("4 Use", PURPLE, [large, save]))
    return graph


def style_example(graph: Graph, start: Start, base: Node, training: Node, latents: Node, heading: str, scale: int = 1):
    """What follows the adaptation to a style: a moment of it, the comparison, the pictures, the style as a file."""
    picked = graph.add("NADAPickSnapshot", room=PICTURE + 120, snapshots=training, pick="last")
    adapted = picked["generator"]
    grid = graph.add(
        "NADACompareGrid",
        room=640,
        generator_a=base,
        latents=latents,
        labels=f"photo | {heading}",
        generator_b=adapted,
    )
    images = graph.add("GenerateImages", generator=adapted, latents=latents)
    enlarged = [graph.add("ImageScaleBy", image=images, scale_by=scale)] if scale > 1 else []
    save = graph.add("SaveImage", room=450, images=enlarged[0] if enlarged else images, filename_prefix=start.title)
    style = graph.add("NADASaveStyle", room=PICTURE, base=base, adapted=adapted, filename_prefix=start.name)
    graph.column(WIDE, Group("2 Adapt", ORANGE, [training]))
    graph.column(LARGE, Group("3 Pick a moment", ORANGE, [picked]))
    graph.column(WIDE, Group("4 Compare", GREEN, [grid]))
    graph.column(LARGE, Group("5 Use the pictures", PURPLE, [images, *enlarged, save]))
    graph.column(NARROW, Group("6 Keep the style", GRAY, [style]))
    return graph


def faces(start: Start, preset: str, heading: str) -> Graph:
    """An example of the paper with its generator."""
    graph = start.graph()
    base, clip = published_models(graph, "ffhq-1024")
    latents = models_and_latents(graph, base, clip, "faces", count=6)
    return style_example(graph, start, base, preset_adapt(graph, base, clip, preset), latents, heading)


def faces_twin(start: Start, heading: str, **settings: Any) -> Graph:
    """The same with the demo models."""
    graph = start.graph()
    base, clip = demo_models(graph, "demo-person")
    latents = models_and_latents(graph, base, clip, "faces", count=6)
    training = adapt(graph, base, clip, **settings)
    return style_example(graph, start, base, training, latents, heading, scale=4)


@template
def sketch(start: Start) -> Graph:
    return faces(start, "sketch", "sketch")


@template
def sketch_demo(start: Start) -> Graph:
    return faces_twin(start, "sketch", **DEMO_FACES)


@template
def pixar(start: Start) -> Graph:
    return faces(start, "pixar", "Pixar")


@template
def pixar_demo(start: Start) -> Graph:
    return faces_twin(start, "Pixar", **DEMO_PIXAR)


def pigs(graph: Graph, start: Start, clip: Node, base: Node, adapted: Node, latents: Node, scale: int = 1, **mapping):
    """What follows the adaptation of dogs: the mapper, and three pictures of each latent."""
    mapper = graph.add("NADATrainMapper", room=PICTURE, generator=adapted, clip=clip, target="pig", **mapping)
    charts = graph.add("PreviewImage", "Losses and layers", room=PICTURE, images=adapted["charts"])
    moved = graph.add("NADAApplyMapper", latents=latents, mapper=mapper)
    before = graph.add("GenerateImages", "Dogs", generator=base, latents=latents)
    after = graph.add("GenerateImages", "Adapted", generator=adapted, latents=latents)
    mapped = graph.add("GenerateImages", "Adapted, codes moved", generator=adapted, latents=moved)
    pair = graph.add("ImageStitch", "Dog | Adapted", image1=before, image2=after)
    row = graph.add("ImageStitch", "Dog | Adapted | Moved", image1=pair, image2=mapped)
    enlarged = [graph.add("ImageScaleBy", image=row, scale_by=scale)] if scale > 1 else []
    save = graph.add("SaveImage", room=450, images=enlarged[0] if enlarged else row, filename_prefix=start.title)
    keep = graph.add("NADASaveMapper", mode=MUTED, mapper=mapper, filename_prefix="pig")
    graph.column(WIDE, Group("2 Adapt: dog to pig", ORANGE, [adapted]))
    graph.column(
        WIDE,
        Group("3 Map: find the pigs", ORANGE, [mapper]),
        Group("How step 2 went: losses and layers", GRAY, [charts]),
    )
    graph.column(
        NARROW,
        Group("4 The same codes, three times", GREEN, [moved, before, after, mapped]),
        Group("Keep (switched off)", GRAY, [keep]),
    )
    graph.column(LARGE, Group("5 Compare", PURPLE, [pair, row, *enlarged, save]))
    return graph


@template
def dog_to_pig(start: Start) -> Graph:
    graph = start.graph()
    base, clip = published_models(graph, "afhqdog-512")
    latents = models_and_latents(graph, base, clip, "dogs", count=6)
    return pigs(graph, start, clip, base, preset_adapt(graph, base, clip, "pig"), latents)


@template
def dog_to_pig_demo(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    latents = models_and_latents(graph, base, clip, "dogs", count=6)
    adapted = adapt(graph, base, clip, **DEMO_PIG)
    return pigs(graph, start, clip, base, adapted, latents, scale=4, iterations=100)


@template
def mix_styles(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    latents = models_and_latents(graph, base, clip, "dogs", count=5)
    trained, saved = [], []
    for name, texts in (("sketch", {}), ("pig", DEMO_PIG)):
        trained.append(adapt(graph, base, clip, f"Adapt: {name}", **texts))
        saved.append(
            graph.add("NADASaveStyle", room=PICTURE, base=base, adapted=trained[-1], filename_prefix=f"demo/{name}")
        )
    first = graph.add("NADAApplyStyle", "Some sketch", room=SAID, generator=base, style=saved[0], strength=0.9)
    mixed = graph.add("NADAApplyStyle", "and some pig", room=SAID, generator=first, style=saved[1], strength=0.9)
    grid = graph.add(
        "NADACompareGrid",
        room=640,
        generator_a=base,
        latents=latents,
        labels="dog | sketch | pig | both",
        generator_b=trained[0],
        generator_c=trained[1],
        generator_d=mixed,
    )
    images = graph.add("GenerateImages", generator=mixed, latents=latents)
    large = graph.add("ImageScaleBy", image=images)
    save = graph.add("SaveImage", room=450, images=large, filename_prefix=start.title)
    for step, node in enumerate(trained, 2):
        graph.column(WIDE, Group(f"{step} {node.title}", ORANGE, [node]))
    graph.column(NARROW, Group("4 Keep what changed, as styles", GRAY, saved))
    graph.column(NARROW, Group("5 Mix", GREEN, [first, mixed]))
    graph.column(LARGE, Group("6 Compare", GREEN, [grid]))
    graph.column(LARGE, Group("7 Use", PURPLE, [images, large, save]))
    return graph


@template
def compare(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    latents = models_and_latents(graph, base, clip, "dogs", count=6)
    targets = {"sketch": {}, "Pixar": DEMO_PIXAR, "watercolor": {"target": "watercolor painting"}}
    trained = [adapt(graph, base, clip, f"Adapt: {name}", **texts) for name, texts in targets.items()]
    columns = {f"generator_{letter}": node for letter, node in zip("bcd", trained, strict=True)}
    labels = " | ".join(["photo", *targets])
    grid = graph.add("NADACompareGrid", room=760, generator_a=base, latents=latents, labels=labels, **columns)
    save = graph.add("SaveImage", "Save the grid", room=450, images=grid, filename_prefix=start.title)
    for node in trained:
        graph.column(WIDE, Group(f"2 {node.title}", ORANGE, [node]))
    graph.column(LARGE, Group("3 Compare", GREEN, [grid]))
    graph.column(LARGE, Group("4 Use", PURPLE, [save]))
    return graph


@template
def latent_walk_video(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    latents = models_and_latents(graph, base, clip, "dogs it passes", count=5, truncation_psi=1.0)
    adapted = adapt(graph, base, clip)
    walk = graph.add("NADAInterpolateLatents", latents=latents)
    before = graph.add("GenerateImages", "Before", generator=base, latents=walk)
    after = graph.add("GenerateImages", "After", generator=adapted, latents=walk)
    pair = graph.add("ImageStitch", "Before | After", image1=before, image2=after)
    large = graph.add("ImageScaleBy", image=pair)
    video = graph.add("CreateVideo", images=large)
    save = graph.add("SaveVideo", room=PICTURE, video=video, filename_prefix=start.title)
    graph.column(WIDE, Group("2 Adapt", ORANGE, [adapted]))
    graph.column(NARROW, Group("3 Walk", GREEN, [walk]), Group("4 The same walk, twice", GREEN, [before, after]))
    graph.column(LARGE, Group("5 Video", PURPLE, [pair, large, video, save]))
    return graph


@template
def chain_into_img2img(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    latents = models_and_latents(graph, base, clip, "face", count=1)
    adapted = adapt(graph, base, clip)
    face = graph.add("GenerateImages", generator=adapted, latents=latents)
    large = graph.add("ImageScale", image=face)
    seen = graph.add("SaveImage", "Save what goes in", room=PICTURE, images=large, filename_prefix=f"{start.title}_in")
    file = {"name": CHECKPOINT, "url": CHECKPOINT_URL, "directory": "checkpoints"}
    model = graph.add("CheckpointLoaderSimple", ckpt_name=CHECKPOINT, models=[file])
    positive = graph.add(
        "CLIPTextEncode", "Prompt", room=90, clip=model, text="pencil sketch of a dog, portrait, fine hatching, paper"
    )
    negative = graph.add("CLIPTextEncode", "Not this", room=60, clip=model, text="blurry, photo")
    encoded = graph.add("VAEEncode", pixels=large, vae=model)
    sampled = graph.add("KSampler", model=model, positive=positive, negative=negative, latent_image=encoded)
    decoded = graph.add("VAEDecode", samples=sampled, vae=model)
    save = graph.add("SaveImage", "Save what comes out", room=450, images=decoded, filename_prefix=start.title)
    graph.column(WIDE, Group("2 Adapt", ORANGE, [adapted]))
    graph.column(WIDE, Group("3 An adapted face, enlarged", GREEN, [face, large, seen]))
    graph.column(WIDE, Group("4 Image to image: any checkpoint", PURPLE, [model, positive, negative]))
    graph.column(NARROW, Group("Over-paint it a little", PURPLE, [encoded, sampled, decoded]))
    graph.column(LARGE, Group("5 Use", PURPLE, [save]))
    return graph


@template
def style_images(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    latents = models_and_latents(graph, base, clip, "dogs", count=6)
    others = graph.add("SampleLatents", "Three others", generator=base, seed=100, count=3)
    images = graph.add("GenerateImages", generator=base, latents=others)
    large = graph.add("ImageScaleBy", image=images, scale_by=2)
    edges = graph.add("Canny", image=large, low_threshold=0.1, high_threshold=0.3)
    pictures = graph.add("ImageInvert", image=edges)
    seen = graph.add("PreviewImage", "The pictures", room=PICTURE, images=pictures)
    adapted = graph.add("NADAImageAdapt", room=PICTURE, generator=base, clip=clip, style_images=pictures)
    grid = graph.add(
        "NADACompareGrid",
        room=640,
        generator_a=base,
        latents=latents,
        labels="photo | like the pictures",
        generator_b=adapted,
    )
    after = graph.add("GenerateImages", generator=adapted, latents=latents)
    enlarged = graph.add("ImageScaleBy", image=after)
    save = graph.add("SaveImage", room=450, images=enlarged, filename_prefix=start.title)
    graph.column(NARROW, Group("2 Pictures of the target", GREEN, [others, images, large, edges, pictures]))
    graph.column(NARROW, Group("That is", GREEN, [seen]))
    graph.column(WIDE, Group("3 Adapt to them", ORANGE, [adapted]))
    graph.column(WIDE, Group("4 Compare", GREEN, [grid]))
    graph.column(LARGE, Group("5 Use the pictures", PURPLE, [after, enlarged, save]))
    return graph
