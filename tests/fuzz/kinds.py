"""The kinds of files for the fuzzer: valid examples, and how a user would read and show them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from helpers.checkpoint_files import small_generator, torch_bytes
from helpers.checkpoint_fuzz import corpus
from helpers.discriminator_files import alive, nvidia_bytes, rosinality_names
from helpers.encoder_files import encoder_contents
from helpers.models import TINY_CLIP, moved
from PIL import Image
from safetensors.torch import save

from nada.checkpoint import inspect_file, load_generator, save_generator
from nada.checkpoint.discriminators import load_discriminator, save_discriminator
from nada.checkpoint.metadata import strict_json
from nada.checkpoint.saving import write_safetensors
from nada.cli import main
from nada.cli.parsing import escaped, show_tree
from nada.clip.loading import load_clip
from nada.clip.models import ClipEnsemble
from nada.latents.directions import edit_latents, load_direction
from nada.latents.files import load_latents
from nada.latents.rendering import generate
from nada.measure.demo_judge import KEY as JUDGE
from nada.measure.demo_judge import Judge, load_judge
from nada.photo.codes import Codes, fitted_noise, load_codes, save_codes
from nada.photo.crop import square_crop
from nada.photo.encoders.files import load_published_encoder
from nada.photo.encoders.published import PublishedEncoder, describe
from nada.photo.encoders.small import SmallEncoder, SmallEncoderConfig, load_small_encoder, save_small_encoder
from nada.photo.loop import PhotoState, load_photo_state, save_photo_state
from nada.photo.project import ProjectConfig, Projection
from nada.pictures.reading import FORMATS, load_pictures
from nada.runs.names import slug
from nada.stylegan2 import Generator
from nada.stylegan2.discriminator import Discriminator
from nada.styles.files import load_style, save_style
from nada.styles.preview import preview_of
from nada.styles.style import Style
from nada.sweep.halving import Halving
from nada.sweep.plan import Plan, make_plan, read_sweep
from nada.text_edits import LatentMapper, load_mapper, save_mapper
from nada.training.goal import Goal
from nada.training.state import RunState, load_state, save_state


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    make: Callable[[Path], list[bytes]]
    """Make valid files with the help of an empty folder."""
    read: Callable[[Path], Any]
    """Read the file at a path, and nothing else; refuses it with a NadaError."""
    use: Callable[[Any, Path], object] = lambda content, path: None
    """Use the result as a user would next."""
    name: str = "file.safetensors"
    """Name of the damaged file, as readers may use its ending."""


def _written(save_to: Callable[[Path], object], folder: Path) -> bytes:
    save_to(folder / "x.safetensors")
    return (folder / "x.safetensors").read_bytes()


def _recipe(generator) -> dict:
    recipe = {"source": "photo", "target": "sketch", "base": generator.fingerprint(), "iterations": 2}
    return recipe | {"iterations_done": 2, "clip": [{"name": "demo", "weight": 1.0}]}


def _own_generators(folder: Path) -> list[bytes]:
    plain, styled = small_generator(8), small_generator(8)
    plain.metadata = {"notes": ["a note"], "adaptations": [_recipe(plain)], "source": {"format": "own", "file": "a"}}
    styled.metadata = {"styles": [{"name": "sketch", "strength": 1.0, "onto": "x", "recipe": None}], "blends": [{}]}
    return [_written(lambda path, g=g: save_generator(g, path), folder) for g in (plain, styled)]


def _show(result: object) -> None:
    """Check that a printed text is a few printable lines, or JSON."""
    json.loads(strict_json(result), parse_constant=lambda name: 1 / 0)
    text = show_tree(escaped(result))
    assert all(line.isprintable() for line in text.split("\n")), text


def _run(*arguments: object) -> None:
    """Run a verb of the command line, which must print a few printable lines in any case."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        main([str(argument) for argument in arguments])
    assert all(line.isprintable() for line in printed.getvalue().split("\n")), printed.getvalue()


def _read_generator(path: Path) -> tuple[Generator, dict]:
    return load_generator(path), inspect_file(path)


def _use_generator(content: tuple[Generator, dict], path: Path) -> None:
    generator, report = content
    _show(report)
    _show({"notes": generator.metadata.get("notes", [])})


def _use_own_generator(content: tuple[Generator, dict], path: Path) -> None:
    _use_generator(content, path)
    style = path.parent / "honest_style.safetensors"
    if not style.exists():
        base = small_generator(8)
        save_style(Style.between(base, moved(base)), style)
    _run("style", "merge", path, style, "--out", path.parent / "merged.safetensors", "--overwrite")


def _styles(folder: Path) -> list[bytes]:
    base = small_generator(8)
    adapted = moved(base)
    adapted.metadata = {"adaptations": [_recipe(base)]}
    picture = preview_of(base, adapted)
    styles = [Style.between(base, adapted, preview=picture), Style.between(base, adapted, rank=2, preview=picture)]
    return [_written(lambda path, style=style: save_style(style, path), folder) for style in styles]


def _use_style(style: Style, path: Path) -> None:
    _run("style", "show", path, "--preview", path.parent / "preview.png", "--overwrite")
    _run("style", "show", path, "--json")


def _mappers(folder: Path) -> list[bytes]:
    mappers = [LatentMapper(4, 8, ("coarse",)), LatentMapper(10, 8)]
    mappers[0].metadata = {"target": "pig", "base": "x"}
    return [_written(lambda path, m=m: save_mapper(m, path), folder) for m in mappers]


def _use_mapper(mapper: LatentMapper, path: Path) -> None:
    if mapper.num_ws < 100:
        mapper(torch.zeros(1, mapper.num_ws, mapper.w_dim))


def _directions(folder: Path) -> list[bytes]:
    arrays = [
        np.ones(16),
        np.ones((1, 16), np.float32),
        np.ones((6, 16), np.float16),
        np.asfortranarray(np.ones((6, 16))),
    ]
    files = []
    for array in arrays:
        buffer = io.BytesIO()
        np.save(buffer, array)
        files.append(buffer.getvalue())
    return files


def _use_direction(direction: torch.Tensor, path: Path) -> None:
    edit_latents(torch.zeros(1, 6, 16), direction, 1.0)


def _pictures(folder: Path) -> list[bytes]:
    picture = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3))
    exif = picture.getexif()
    exif[0x0112] = 6
    grey = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)
    variants = [(picture, form, {}) for form in FORMATS]
    variants += [(picture, "JPEG", {"exif": exif.tobytes()}), (picture, "JPEG", {"progressive": True})]
    variants += [(picture.convert(mode), "PNG", {}) for mode in ("RGBA", "LA", "P", "1", "L")] + [(grey, "PNG", {})]
    variants += [(picture.convert("CMYK"), "TIFF", {}), (grey, "TIFF", {}), (picture, "TIFF", {"compression": "jpeg"})]
    several = {"save_all": True, "append_images": [picture.rotate(90)]}
    variants += [(picture, form, several) for form in ("GIF", "PNG", "WEBP", "TIFF", "MPO")]
    files = []
    for image, form, options in variants:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        files.append(buffer.getvalue())
    return files


def _states(folder: Path) -> list[bytes]:
    generator = small_generator(8)
    tensors = {"trained.a": torch.ones(3), "step.a": torch.ones(()), "random": torch.zeros(9, dtype=torch.uint8)}
    history = {"losses": [{"directional": 1.0}], "layers": [["b4.conv1"]], "seconds": 1.0}
    goal = Goal((torch.ones(8),), (torch.ones(8),), "photo").packed()
    state = RunState(tensors, _recipe(generator), goal, ("b4.conv1",), {"history": history})
    return [_written(lambda path: save_state(state, path), folder)]


def _use_state(state: RunState, path: Path) -> None:
    Goal.unpacked(state.goal)
    _show({"recipe": state.recipe, "notes": state.notes})


def _judges(folder: Path) -> list[bytes]:
    description = {"styles": ["photo"], "species": ["dog"], "parameters": ["x"], "words": {"dog": ["species", "dog"]}}
    description |= {"readable": {"photo dog": [0.9]}, "spreads": {"photo dog": [0.1]}}
    return [save(Judge(description).state_dict(), {JUDGE: json.dumps(description)})]


def _clip_config(folder: Path) -> list[bytes]:
    return [json.dumps(TINY_CLIP).encode()]


def _read_clip(path: Path) -> ClipEnsemble:
    """Valid weights beside a configuration; made once, for the valid configuration."""
    weights = path.parent / "open_clip_model.safetensors"
    if not weights.exists():
        import open_clip

        torch.manual_seed(1)
        weights.write_bytes(save(open_clip.create_model(f"local-dir:{path.parent}").state_dict()))
    return load_clip(str(path.parent))


def _use_clip(clip: ClipEnsemble, path: Path) -> None:
    for model in clip:
        model.encode_text(["a dog"])


def _encoders(folder: Path) -> list[bytes]:
    contents = [encoder_contents(small_generator(8), kind) for kind in ("e4e", "restyle_psp_resnet")]
    return [_written(lambda path, c=c: torch.save(c, path), folder) for c in contents]


def _use_encoder(encoder: PublishedEncoder, path: Path) -> None:
    assert all(tensor.isfinite().all() for tensor in encoder.state_dict().values())
    _show(describe(encoder.config))


def _discriminators(folder: Path) -> list[bytes]:
    discriminator = alive(8, conv_clamp=256.0)
    files = [torch_bytes({"g": {}, "d": rosinality_names(discriminator)}), nvidia_bytes(discriminator)]
    return [*files, _written(lambda path: save_discriminator(discriminator, path), folder)]


def _use_discriminator(discriminator: Discriminator, path: Path) -> None:
    config = discriminator.config
    if config.resolution <= 64 and max(config.channels) <= 64:
        discriminator(torch.zeros(4, config.img_channels, config.resolution, config.resolution))


def _small_encoders(folder: Path) -> list[bytes]:
    encoder = SmallEncoder(SmallEncoderConfig(16, (8, 16), 8, 4, 8), "base", {"steps": 3})
    return [_written(lambda path: save_small_encoder(encoder, path), folder)]


def _latents(folder: Path) -> list[bytes]:
    ws = torch.ones(2, 4, 14)
    np.savez(folder / "w.npz", w=ws.numpy(), noise=np.zeros(3))
    np.save(folder / "w.npy", ws[:1].numpy())
    torch.save({"face.jpg": {"latent": ws[0], "noise": [torch.zeros(3)]}}, folder / "w.pt")
    return [*((folder / name).read_bytes() for name in ("w.npz", "w.npy", "w.pt")), _photo_codes(folder)[0]]


def _photo_codes(folder: Path) -> list[bytes]:
    crop = square_crop((20.5, 30.0), 18.0, (40, 60))
    noise = {"b4.conv1": torch.zeros(2, 1, 4, 4)}
    codes = Codes(torch.ones(2, 4, 14), (crop, crop), ("a.png", ""), "base", {"pull": 0.1}, noise)
    return [_written(lambda path: save_codes(codes, path), folder)]


def _use_photo_codes(codes: Codes, path: Path) -> None:
    assert codes.ws.isfinite().all()
    noise = fitted_noise(path, small_generator(8), len(codes.ws))
    if codes.ws.shape[1:] == (4, 14):
        generate(small_generator(8), codes.ws, noise or "const")
    _show({"recipe": codes.recipe, "photos": list(codes.photos), "crops": [crop.to_json() for crop in codes.crops]})


def _projection() -> Projection:
    generator = small_generator(8)
    photos = generator.synthesis(generator.mapping(torch.zeros(1, generator.config.z_dim))).detach().clamp(-1, 1)
    return Projection(generator, photos, ProjectConfig(w_iterations=2, plus_iterations=2))


def _photo_states(folder: Path) -> list[bytes]:
    run = _projection()
    next(run)
    return [_written(lambda path: save_photo_state(run.state(), path), folder)]


def _use_photo_state(state: PhotoState, path: Path) -> None:
    run = _projection()
    run.restore(state)
    if run.iteration < len(run):
        next(run)
    write_safetensors({"ws": run.ws}, {}, path.with_suffix(".codes"))  # refuses what huge numbers became


def _sweeps(folder: Path) -> list[bytes]:
    description = {
        "name": "styles",
        "base": {"generator": "demo", "source": "photo", "learning_rate": "1e-3"},
        "grid": {"target": ["a", "b"], "seed": [0, 1]},
        "pairs": [{"source": "dog", "target": "pig"}, {"target": "c", "style_images": ["a", "b"], "image_share": 1}],
        "exclude": [{"target": "a", "seed": 1}],
        "evaluate": {"count": 4, "metrics": ["quality"]},
        "halving": {"keep_best": "1/3", "at": [5, 10], "metric": "quality"},
        "keep": "style",
    }
    return [json.dumps(description).encode(), yaml.safe_dump(description).encode()]


def _use_sweep(plan: Plan, path: Path) -> None:
    if plan.halving:
        Halving.parse(**plan.halving)
    slug(plan.name)


KINDS = {
    "generators": Kind(corpus, _read_generator, _use_generator, "model"),
    "own generators": Kind(_own_generators, _read_generator, _use_own_generator),
    "discriminators": Kind(_discriminators, load_discriminator, _use_discriminator, "model"),
    "styles": Kind(_styles, load_style, _use_style),
    "mappers": Kind(_mappers, load_mapper, _use_mapper),
    "directions": Kind(_directions, load_direction, _use_direction, "direction.npy"),
    "pictures": Kind(_pictures, lambda path: load_pictures([path], (8, 8)), name="picture.png"),
    "states": Kind(_states, load_state, _use_state),
    "judges": Kind(_judges, load_judge),
    "small encoders": Kind(_small_encoders, load_small_encoder),
    "latent codes": Kind(_latents, lambda path: load_latents(path, small_generator(8)), name="codes"),
    "photo codes": Kind(_photo_codes, load_codes, _use_photo_codes),
    "photo states": Kind(_photo_states, load_photo_state, _use_photo_state),
    "sweeps": Kind(_sweeps, lambda path: make_plan(read_sweep(path)), _use_sweep, "sweep.yaml"),
    "encoders": Kind(_encoders, load_published_encoder, _use_encoder, "encoder.pt"),
    "CLIP folders": Kind(_clip_config, _read_clip, _use_clip, "open_clip_config.json"),
}
