"""Save discriminators, and load them with the same inert readers as generators."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from ..errors import CheckpointError, UsageError
from ..files import existing_file
from ..stylegan2.discriminator import Discriminator, DiscriminatorConfig, low_pass_filter
from .blueprint import MAX_WIDTH, drop_filters, finite
from .containers import read_document
from .document import Document
from .loading import opened
from .metadata import damaged, header_json, read_description
from .saving import write_safetensors
from .tensors import TensorView
from .window import Window

KEY, VERSION = "nada_discriminator", 1  # key and format in the headers of this project's own files
ROSINALITY = ("convs.0.0.weight", "final_conv.0.weight", "final_linear.1.weight")
NVIDIA = ("b4.conv.weight", "b4.fc.weight", "b4.out.weight")
MAX_BLOCKS = 8  # number of blocks before the last one, at 1024 px
Tensors = dict[str, TensorView]


def save_discriminator(discriminator: Discriminator, path: str | os.PathLike[str]) -> None:
    """Write a discriminator atomically as safetensors, under NVIDIA's names, with its config.

    Raises:
        NadaError: the file cannot be written, or a weight is not finite.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in discriminator.state_dict().items()}
    description = {"format": VERSION, "config": asdict(discriminator.config)}
    write_safetensors(tensors, {KEY: header_json(description)}, path)


@torch.inference_mode(False)
def load_discriminator(path: str | os.PathLike[str]) -> Discriminator:
    """Load the StyleGAN2 discriminator in a file, such as a generator's checkpoint, without executing anything in it.

    Args:
        path: a file of rosinality/stylegan2-pytorch ("d"), NVlabs/stylegan2-ada-pytorch or stylegan3 ("D"), or
            `save_discriminator`.

    Returns:
        The discriminator in float32 on the CPU, in eval mode, without gradients.

    Raises:
        CheckpointError: the file cannot be read, or holds no discriminator of the "resnet" architecture without labels.
    """
    path = existing_file(path, "give the path of a checkpoint with a discriminator")
    with opened(path) as file:
        document = read_document(Window.whole(file))
        config, tensors = _recognized(document)
        return _build(config, tensors)


def _recognized(document: Document) -> tuple[DiscriminatorConfig, Tensors]:
    """Return the discriminator's config, and its tensors under canonical names."""
    if KEY in document.metadata:
        description = read_description(document.metadata, KEY, VERSION, "discriminator")
        match description:
            case {"config": dict() as fields}:
                return _config(**fields), document.tensors
        raise damaged("discriminator")
    for marks, convert in ((ROSINALITY, _from_rosinality), (NVIDIA, _from_nvidia)):
        if prefixes := document.prefixes_of(marks):
            return convert(document.under(prefixes[0]))
    raise CheckpointError(
        "the file holds no StyleGAN2 discriminator; take one that was saved in training, such as NVIDIA's .pkl or "
        "rosinality's stylegan2-ffhq-config-f.pt (files of the average generator alone have none)"
    )


def _from_rosinality(network: Document) -> tuple[DiscriminatorConfig, Tensors]:
    tensors = drop_filters(network.tensors, (".kernel",), gain=1.0)
    blocks = sum(1 for name in tensors if re.fullmatch(r"convs\.\d{1,2}\.conv1\.0\.weight", name))
    names = {
        "convs.0.0.weight": f"b{4 << blocks}.fromrgb.weight",
        "convs.0.1.bias": f"b{4 << blocks}.fromrgb.bias",
        "final_conv.0.weight": "b4.conv.weight",
        "final_conv.1.bias": "b4.conv.bias",
    }
    names |= {
        f"final_linear.{i}.{part}": f"b4.{layer}.{part}"
        for i, layer in enumerate(("fc", "out"))
        for part in ("weight", "bias")
    }
    for i in range(1, min(blocks, MAX_BLOCKS) + 1):
        theirs, ours = f"convs.{i}", f"b{8 << (blocks - i)}"
        names |= {
            f"{theirs}.conv1.0.weight": f"{ours}.conv0.weight",
            f"{theirs}.conv1.1.bias": f"{ours}.conv0.bias",
            f"{theirs}.conv2.1.weight": f"{ours}.conv1.weight",
            f"{theirs}.conv2.2.bias": f"{ours}.conv1.bias",
            f"{theirs}.skip.1.weight": f"{ours}.skip.weight",
        }
    renamed = {names.get(name, name): view for name, view in tensors.items()}
    return _inferred(renamed), renamed


def _from_nvidia(network: Document) -> tuple[DiscriminatorConfig, Tensors]:
    tensors = drop_filters(network.tensors, (".resample_filter",), gain=1.0)
    if any(name.startswith("mapping.") for name in tensors):
        raise CheckpointError("this discriminator has labels; only those without can be loaded")

    def told(pattern: str, default: Any, known: Callable[[Any], bool]) -> Any:
        """Return the value of an attribute, which must be the same in all layers."""
        values = {value for name, value in network.attributes.items() if re.fullmatch(pattern, name)} or {default}
        if len(values) > 1 or not known(value := values.pop()):
            shown = ", ".join(sorted(str(v)[:40] for v in values)) or str(value)[:40]
            raise CheckpointError(f"this discriminator has the setting {pattern!r} = {shown}, which cannot be loaded")
        return value

    told(r"b\d+\.architecture", "resnet", lambda value: value == "resnet")
    told(r"b\d+\.(fromrgb|conv\d?|fc)\.activation", "lrelu", lambda value: value == "lrelu")
    told(r"b4\.mbstd\.num_channels", 1, lambda value: value == 1)
    group = told(r"b4\.mbstd\.group_size", 4, lambda value: type(value) is int)
    clamp = told(r"b\d+\.(fromrgb|conv\d?)\.conv_clamp", None, lambda value: not isinstance(value, (str, bool)))
    return _inferred(tensors, conv_clamp=clamp, group=group), tensors


def _inferred(tensors: Tensors, **constants: Any) -> DiscriminatorConfig:
    """Infer the sizes of a discriminator from the shapes of its tensors."""
    blocks = sorted(int(m[1]) for name in tensors if (m := re.fullmatch(r"b(\d{1,4})\.conv0\.weight", name)))
    if not blocks:
        raise CheckpointError("the file lacks the convolutions of its discriminator; it is damaged or incomplete")
    shapes = {name: view.shape for name, view in tensors.items()}
    weights = ["b4.conv.weight", *(f"b{r}.conv0.weight" for r in blocks)]
    rgb = shapes.get(f"b{blocks[-1]}.fromrgb.weight", ())
    if len(rgb) != 4 or any(len(shapes[name]) != 4 for name in weights):
        raise CheckpointError("the file lacks convolutions of its discriminator, or they have impossible shapes")
    channels = tuple(shapes[name][0] for name in weights)
    return _config(resolution=blocks[-1], channels=channels, img_channels=rgb[1], **constants)


def _config(**fields: Any) -> DiscriminatorConfig:
    """Validate fields from a file and make a config of them."""
    try:
        config = DiscriminatorConfig(**fields)
        whole = (config.resolution, *config.channels, config.img_channels, config.group)
        if any(type(n) is not int or n > MAX_WIDTH for n in whole):
            raise ValueError(f"its sizes are not whole numbers up to {MAX_WIDTH}")
        return config
    except (UsageError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"the file's discriminator cannot be built: {str(error)[:300]}") from error


@torch.no_grad()
def _build(config: DiscriminatorConfig, tensors: Tensors) -> Discriminator:
    with torch.device("meta"):  # shapes without memory: every tensor comes from the file
        discriminator = Discriminator(config).eval().requires_grad_(False)
    expected = {name: tuple(tensor.shape) for name, tensor in discriminator.state_dict().items()}
    found = {name: view.shape for name, view in tensors.items()}
    if odd := sorted(name for name in expected | found if expected.get(name) != found.get(name)):
        name = odd[0]
        raise CheckpointError(
            f"this is no complete StyleGAN2 discriminator: {name[:120]} is {list(found.get(name, ())) or 'missing'} "
            f"in the file, and should be {list(expected.get(name, ())) or 'absent'}"
        )
    discriminator.load_state_dict({name: finite(name, view.read()) for name, view in tensors.items()}, assign=True)
    for module in discriminator.modules():
        if getattr(module, "low_pass", None) is not None:
            module.low_pass = low_pass_filter()  # a constant, which is in no state dict
    return discriminator
