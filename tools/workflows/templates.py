"""The workflows that come with the pack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from graph import BLUE, GRAY, GREEN, MUTED, ORANGE, PURPLE, Graph, Group, Node
from parts import (
    IMAGE,
    LOADER,
    NARROW,
    PICTURE,
    SAID,
    SQUARE,
    THUMBNAIL,
    WHOLE,
    Start,
    adapt,
    demo_models,
    models,
    published_file,
    published_models,
)

from nada.demo import SETTINGS
from nada.training.presets import PRESETS, SELECT_EVERY_4TH

CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
CHECKPOINT_URL = f"https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{CHECKPOINT}"
# Settings that suit the demo's generators better than those their files recommend.
DEMO_SKETCH = {"iterations": SETTINGS["iterations"]}
DEMO_FACES = {"iterations": 75}
DEMO_PIXAR = {"target": "3d render in the style of Pixar", "iterations": 40}
DEMO_PIG = {**SELECT_EVERY_4TH, "source": "dog", "target": "pig", "layers": "auto", "iterations": 150}


class Template(NamedTuple):
    """A workflow: name of its file, which the template browser shows as a title, and the function that builds it."""

    file: str
    build: Callable[[Start], Graph]


TEMPLATES: dict[str, Template] = {}


def template(file: str) -> Callable[[Callable[[Start], Graph]], Callable[[Start], Graph]]:
    """Register the decorated function as the template with this file name."""

    def add(build: Callable[[Start], Graph]) -> Callable[[Start], Graph]:
        TEMPLATES[build.__name__] = Template(file, build)
        return build

    return add


@template("01 Quickstart photo to sketch")
def quickstart(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    adapted, _ = adapt(graph, base, clip, room=WHOLE, **DEMO_SKETCH)
    latents = graph.add("SampleLatents", generator=base, count=5)
    grid = graph.add(
        "NADACompareGrid", room=SQUARE, generator_a=base, latents=latents, labels="before | after", generator_b=adapted
    )
    keep = graph.add("NADASaveGenerator", mode=MUTED, generator=adapted, filename_prefix="sketch")
    save = graph.add("SaveImage", room=SQUARE, images=grid, filename_prefix=start.title)
    models(graph, base, clip, above=160)
    graph.column(IMAGE, Group("Latents: which dogs", BLUE, [latents]), Group("2 Adapt", ORANGE, [adapted]))
    graph.column(IMAGE, Group("Keep (switched off)", GRAY, [keep]), Group("3 Compare", GREEN, [grid]))
    graph.column(IMAGE, Group("4 Use", PURPLE, [save], 180))
    graph.as_app([(adapted, "source"), (adapted, "target"), (latents, "seed")], [adapted, grid])
    return graph


def style_example(
    graph: Graph, start: Start, base: Node, clip: Node, settings: dict[str, Any]
) -> tuple[Node, Node, Node]:
    """Build the adaptation to a style, a snapshot of it, its pictures, and the style as a file."""
    training, options = adapt(graph, base, clip, room=WHOLE, **settings)
    latents = graph.add("SampleLatents", generator=training, count=6)
    picked = graph.add("NADAPickSnapshot", room=PICTURE, snapshots=training, pick="last")
    images = graph.add("GenerateImages", generator=picked, latents=latents)
    style = graph.add("NADASaveStyle", room=SQUARE, base=base, adapted=picked, filename_prefix=start.name)
    save = graph.add("SaveImage", room=SQUARE, images=images, filename_prefix=start.title)
    gap = 24
    models(graph, base, clip, options, gap)
    graph.column(IMAGE, Group("2 Adapt", ORANGE, [training], 160), gap=gap)
    moment = Group("3 Pick a snapshot", ORANGE, [picked], 80)
    graph.column(IMAGE, moment, Group("Latents: which faces", BLUE, [latents]), gap=gap)
    graph.column(IMAGE, Group("5 Keep the style", GRAY, [style]), Group("4 Use it", PURPLE, [images]), gap=gap)
    graph.column(IMAGE, Group("The pictures", PURPLE, [save], 280))
    return training, latents, save


def faces(start: Start, preset: str) -> Graph:
    """Build an example of the paper with its generator; the widgets have the preset's texts and numbers."""
    graph = start.graph()
    base, clip = published_models(graph, "ffhq-1024")
    style_example(graph, start, base, clip, PRESETS[preset].settings)
    return graph


def faces_twin(start: Start, **settings: Any) -> Graph:
    """Build the same example with the demo models."""
    graph = start.graph()
    base, clip = demo_models(graph, "demo-person")
    training, latents, save = style_example(graph, start, base, clip, settings)
    graph.as_app([(training, "source"), (training, "target"), (latents, "seed")], [training, save])
    return graph


@template("02 Faces to sketches demo")
def sketch_demo(start: Start) -> Graph:
    return faces_twin(start, **DEMO_FACES)


@template("03 Faces to Pixar demo")
def pixar_demo(start: Start) -> Graph:
    return faces_twin(start, **DEMO_PIXAR)


def pigs(graph: Graph, base: Node, clip: Node, settings: dict[str, Any], **mapping: Any) -> tuple[Node, Node, Node]:
    """Build the adaptation of dogs, the mapper, and the pictures of changed codes."""
    adapted, options = adapt(graph, base, clip, **settings)
    latents = graph.add("SampleLatents", generator=adapted, count=6)
    mapper = graph.add("NADATrainMapper", room=120, generator=adapted, clip=clip, target="pig", **mapping)
    moved = graph.add("NADAApplyMapper", "Apply the mapper", latents=latents, mapper=mapper)
    keep = graph.add("NADASaveMapper", mode=MUTED, mapper=mapper, filename_prefix="pig")
    images = graph.add(
        "NADACompareGrid", "The pigs", SQUARE, generator_a=adapted, latents=moved, labels="adapted, codes moved"
    )
    models(graph, base, clip, options)
    graph.column(IMAGE, Group("2 Adapt: dog to pig", ORANGE, [adapted], 340))
    mapping_first = Group("3 Map: find the pigs", ORANGE, [mapper])
    graph.column(IMAGE, mapping_first, Group("Latents: which dogs", BLUE, [latents]))
    graph.column(LOADER, Group("Keep (switched off)", GRAY, [keep]), Group("4 Move the codes", GREEN, [moved]))
    graph.column(IMAGE, Group("5 Look at them", PURPLE, [images], 300))
    return adapted, latents, images


@template("04 Dogs to pigs demo")
def dog_to_pig_demo(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    adapted, latents, images = pigs(graph, base, clip, DEMO_PIG, iterations=100)
    graph.as_app([(adapted, "source"), (adapted, "target"), (latents, "seed")], [adapted, images])
    return graph


@template("05 Mix two styles")
def mix_styles(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    sketched, _ = adapt(graph, base, clip, "Adapt: sketch", room=90, **DEMO_SKETCH)
    pigs, options = adapt(graph, base, clip, "Adapt: dog to pig", room=90, **DEMO_PIG)
    latents = graph.add("SampleLatents", generator=sketched, count=5)
    style = graph.add("NADASaveStyle", room=SQUARE, base=base, adapted=pigs, filename_prefix="demo/pig")
    mixed = graph.add("NADAApplyStyle", room=SAID, generator=sketched, style=style, strength=0.9)
    grid = graph.add(
        "NADACompareGrid",
        room=SQUARE,
        generator_a=sketched,
        latents=latents,
        labels="sketch | sketch and pig",
        generator_b=mixed,
    )
    graph.column(LOADER, Group("Options of step 3", BLUE, options), Group("1 Models", BLUE, [base, clip]))
    graph.column(
        IMAGE,
        Group("2 Adapt to sketch", ORANGE, [sketched], 86),
        Group("3 Adapt: dog to pig", ORANGE, [pigs]),
    )
    keep = Group("4 Keep what changed", GRAY, [style])
    graph.column(IMAGE, Group("Latents: which dogs", BLUE, [latents], 280), keep)
    graph.column(LOADER, Group("5 Mix", GREEN, [mixed]))
    graph.column(IMAGE, Group("6 Compare", GREEN, [grid], 160))
    return graph


@template("06 Compare two targets")
def compare(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    targets = {"sketch": DEMO_SKETCH, "Pixar": DEMO_PIXAR}
    trained = [adapt(graph, base, clip, f"Adapt: {name}", 90, **texts)[0] for name, texts in targets.items()]
    latents = graph.add("SampleLatents", generator=trained[0], count=6)
    columns = {f"generator_{letter}": node for letter, node in zip("bc", trained, strict=True)}
    labels = " | ".join(["photo", *targets])
    grid = graph.add("NADACompareGrid", room=620, generator_a=base, latents=latents, labels=labels, **columns)
    models(graph, base, clip, above=80)
    groups = (Group("2 Adapt to Pixar", ORANGE, [trained[1]], 140), Group("2 Adapt to sketch", ORANGE, [trained[0]]))
    graph.column(IMAGE, *groups)
    graph.column(LOADER, Group("Latents: which dogs", BLUE, [latents], 740))
    graph.column(480, Group("3 Compare", GREEN, [grid], 100))
    return graph


@template("07 Towards pictures")
def style_images(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    others = graph.add("SampleLatents", "Three others", generator=base, seed=100, count=3)
    images = graph.add("GenerateImages", "Generate", generator=base, latents=others)
    edges = graph.add("Canny", image=images, low_threshold=0.1, high_threshold=0.3)
    pictures = graph.add("ImageInvert", image=edges)
    adapted = graph.add("NADAImageAdapt", room=234, generator=base, clip=clip, style_images=pictures, style_weight=3.0)
    seen = graph.add("PreviewImage", "The pictures", room=132, images=pictures)
    picked = graph.add("NADAPickSnapshot", room=SQUARE, snapshots=adapted, pick="last")
    gap = 0
    clip.title = "Load CLIP"
    graph.column(NARROW, Group("1 Models", BLUE, [base, clip]), gap=gap)
    graph.column(NARROW, Group("2 Pictures", GREEN, [others], 280), gap=gap)
    graph.column(NARROW, Group("of the target", GREEN, [images], 220), gap=gap)
    graph.column(NARROW, Group("as outlines", GREEN, [edges], 260), gap=gap)
    graph.column(NARROW, Group("on paper", GREEN, [pictures], 300), gap=gap)
    graph.column(
        IMAGE,
        Group("3 Adapt to them", ORANGE, [adapted]),
        Group("The pictures", GREEN, [seen]),
        gap=gap,
    )
    graph.column(IMAGE, Group("4 Compare", GREEN, [picked]))
    return graph


@template("08 Latent walk video")
def latent_walk_video(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    adapted, _ = adapt(graph, base, clip, **DEMO_SKETCH)
    latents = graph.add("SampleLatents", generator=adapted, count=4)
    walk = graph.add("NADALatentWalk", room=160, generator=adapted, base=base, filename_prefix=f"{start.title}_walk")
    wipe = graph.add(
        "NADABeforeAfterAnimation",
        room=298,
        before=base,
        after=adapted,
        latents=latents,
        filename_prefix=f"{start.title}_wipe",
    )
    video = graph.add("CreateVideo", images=walk)
    save = graph.add("SaveVideo", room=220, video=video, filename_prefix=start.title)
    gap = 24
    models(graph, base, clip, gap=gap, above=250)
    graph.column(IMAGE, Group("2 Adapt", ORANGE, [adapted], 412), gap=gap)
    graph.column(IMAGE, Group("3 Walk", GREEN, [walk]), Group("Latents: which dogs", BLUE, [latents], 80), gap=gap)
    film = Group("5 Video", PURPLE, [video])
    graph.column(IMAGE, film, Group("4 Before and after", GREEN, [wipe], 316), gap=gap)
    graph.column(IMAGE, Group("Save", PURPLE, [save]))
    return graph


@template("09 Into image to image")
def chain_into_img2img(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    adapted, _ = adapt(graph, base, clip, **DEMO_SKETCH)
    latents = graph.add("SampleLatents", generator=base, count=1)
    face = graph.add("GenerateImages", generator=adapted, latents=latents)
    large = graph.add("ImageScale", image=face)
    seen = graph.add("SaveImage", "What goes in", room=120, images=large, filename_prefix=f"{start.title}_in")
    file = {"name": CHECKPOINT, "url": CHECKPOINT_URL, "directory": "checkpoints"}
    model = graph.add("CheckpointLoaderSimple", ckpt_name=CHECKPOINT, models=[file])
    positive = graph.add(
        "CLIPTextEncode", "Prompt", room=90, clip=model, text="pencil sketch of a dog, portrait, fine hatching, paper"
    )
    negative = graph.add("CLIPTextEncode", "Not this", room=60, clip=model, text="blurry, photo")
    encoded = graph.add("VAEEncode", pixels=large, vae=model)
    sampled = graph.add("KSampler", model=model, positive=positive, negative=negative, latent_image=encoded)
    decoded = graph.add("VAEDecode", samples=sampled, vae=model)
    save = graph.add("SaveImage", "Save what comes out", room=SQUARE, images=decoded, filename_prefix=start.title)
    gap = 0
    clip.title, face.title = "Load CLIP", "Generate"
    graph.column(NARROW, Group("1 Models", BLUE, [base, clip], 360), gap=gap)
    graph.column(IMAGE, Group("Latents: which dog", BLUE, [latents]), Group("2 Adapt", ORANGE, [adapted]), gap=gap)
    graph.column(NARROW, Group("3 A dog", GREEN, [face], 140), Group("4 Any checkpoint", PURPLE, [model]), gap=gap)
    texts = Group("Texts", PURPLE, [positive, negative], 220)
    graph.column(NARROW, Group("enlarged", GREEN, [large]), texts, gap=gap)
    graph.column(140, Group("Seen", GREEN, [seen]), Group("Encode", PURPLE, [encoded]), gap=gap)
    graph.column(NARROW, Group("Over-paint it", PURPLE, [sampled], 380), gap=gap)
    graph.column(140, Group("Decode", PURPLE, [decoded], 260), gap=gap)
    graph.column(260, Group("5 Use", PURPLE, [save], 360))
    return graph


@template("11 Faces to sketches 1024px")
def sketch(start: Start) -> Graph:
    return faces(start, "sketch")


@template("12 Faces to Pixar 1024px")
def pixar(start: Start) -> Graph:
    return faces(start, "pixar")


@template("13 Dogs to pigs 512px")
def dog_to_pig(start: Start) -> Graph:
    graph = start.graph()
    base, clip = published_models(graph, "afhqdog-512")
    pigs(graph, base, clip, PRESETS["pig"].settings)
    return graph


@template("10 Your photo to sketch demo")
def photo_to_sketch_demo(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    encoder = graph.add("NADALoadEncoder", room=SAID, encoder_name="demo")
    latents = graph.add("SampleLatents", "Some dogs", generator=base, seed=12, count=4, truncation_psi=1.0)
    photo = graph.add("GenerateImages", "Their photos", generator=base, latents=latents)
    training, _ = adapt(graph, base, clip, room=90, **DEMO_SKETCH)
    found = graph.add("NADAInvertPhoto", room=PICTURE, generator=base, photo=photo, encoder=encoder, plus_iterations=60)
    grid = graph.add(
        "NADACompareGrid", room=PICTURE, generator_a=training, latents=found["latents"], labels="as a sketch"
    )
    graph.column(LOADER, Group("1 Models", BLUE, [base, clip]))
    graph.column(IMAGE, Group("2 Photos", BLUE, [latents], 100), Group("4 Adapt", ORANGE, [training], 70))
    graph.column(NARROW, Group("Here of dogs", BLUE, [photo], 60), Group("Their encoder", BLUE, [encoder]))
    graph.column(IMAGE, Group("3 Invert", GREEN, [found]))
    graph.column(IMAGE, Group("5 Compare", GREEN, [grid], 440))
    return graph


@template("14 Your photo to sketch 1024px")
def photo_to_sketch(start: Start) -> Graph:
    graph = start.graph()
    base, clip = published_models(graph, "ffhq-1024")
    (entry,) = (entry for entry in graph.kinds["NADALoadEncoder"].choices["encoder_name"] if "ffhq-1024-e4e" in entry)
    encoder = graph.add("NADALoadEncoder", room=SAID, models=[published_file("ffhq-1024-e4e")], encoder_name=entry)
    photo = graph.add("LoadImage", room=THUMBNAIL)
    square = graph.add("NADAAlignPhoto", room=70, photo=photo)
    training, _ = adapt(graph, base, clip, room=50, **PRESETS["sketch"].settings)
    found = graph.add("NADAInvertPhoto", room=40, generator=base, photo=square["image"], encoder=encoder)
    images = graph.add("GenerateImages", generator=training, latents=found["latents"], noise="const")
    pasted = graph.add("NADAPasteBack", photo=photo, image=images, crops=square["crops"])
    save = graph.add("SaveImage", room=SQUARE, images=pasted["image"], filename_prefix=start.title)
    gap = 24
    graph.column(LOADER, Group("2 Your photo", BLUE, [photo]), Group("1 Models", BLUE, [encoder, base, clip]), gap=gap)
    graph.column(
        IMAGE, Group("3 Find the face", GREEN, [square], 66), Group("5 Adapt", ORANGE, [training], 182), gap=gap
    )
    graph.column(LOADER, Group("4 Invert", GREEN, [found], 248), gap=gap)
    graph.column(NARROW, Group("6 As a sketch", GREEN, [images], 600), gap=gap)
    graph.column(NARROW, Group("7 Paste it back", GREEN, [pasted]), gap=gap)
    graph.column(320, Group("The result", PURPLE, [save]))
    return graph


@template("15 Video to sketch demo")
def photo_video(start: Start) -> Graph:
    graph = start.graph()
    base, clip = demo_models(graph)
    encoder = graph.add("NADALoadEncoder", room=SAID, encoder_name="demo")
    frames = graph.add(
        "NADALatentWalk", "Some frames", room=100, generator=base, frames=48, filename_prefix=f"{start.title}_in"
    )
    training, _ = adapt(graph, base, clip, room=60, **DEMO_SKETCH)
    squares = graph.add("NADAAlignPhoto", room=40, photo=frames, find="middle", size=128)
    found = graph.add(
        "NADAInvertPhoto",
        room=60,
        generator=base,
        photo=squares["image"],
        encoder=encoder,
        optimize=False,
        smooth=1.0,
    )
    images = graph.add("GenerateImages", "Generate", generator=training, latents=found["latents"], noise="const")
    pasted = graph.add(
        "NADAPasteBack", "Paste Back", photo=frames, image=images, crops=squares["crops"], region="square"
    )
    save = graph.add("SaveWEBM", room=220, images=pasted["image"], filename_prefix=start.title)
    gap, width, clip.title = 6, 226, "Load CLIP"
    graph.column(width, Group("1 Models", BLUE, [base, clip], 360), gap=gap)
    graph.column(IMAGE, Group("2 Frames", BLUE, [frames]), Group("4 Adapt", ORANGE, [training], 60), gap=gap)
    graph.column(width, Group("Squares", GREEN, [squares], 60), Group("Encoder", BLUE, [encoder], 60), gap=gap)
    graph.column(width, Group("3 Invert", GREEN, [found], 300), gap=gap)
    graph.column(width, Group("5 Sketches", GREEN, [images], 740), gap=gap)
    graph.column(width, Group("6 Paste back", GREEN, [pasted], 20), gap=gap)
    graph.column(width, Group("7 Video", PURPLE, [save], 20))
    return graph
