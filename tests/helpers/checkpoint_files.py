"""Writers of other projects' checkpoint formats for tests, which convert one of our generators to such a file."""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.effort import little_work
from nada.checkpoint import load_generator
from nada.errors import CheckpointError
from nada.stylegan2 import Generator, GeneratorConfig

FILTER = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64


def small_generator(resolution: int = 16, seed: int = 1, **fields) -> Generator:
    """A random generator in which every tensor matters: biases, noise strengths and the average w are not zero."""
    blocks = resolution.bit_length() - 2
    sizes = {"channels": (12, 10, 8, 6, 4)[:blocks], "z_dim": 14, "w_dim": 14, "mapping_layers": 3}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        generator = Generator(GeneratorConfig(resolution, **{**sizes, **fields}))
        with torch.no_grad():
            for name, tensor in generator.state_dict().items():
                if name.endswith(("bias", "noise_strength", "w_avg")):
                    tensor.add_(torch.randn(tensor.shape) * (10 if name.startswith("mapping.fc") else 0.1))
    return generator.eval().requires_grad_(False)


# rosinality


def rosinality_names(generator: Generator) -> OrderedDict:
    """The generator's tensors by the names of rosinality's `g_ema`."""
    out = OrderedDict()
    for name, tensor in generator.state_dict().items():
        if m := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", name):
            out[f"style.{int(m[1]) + 1}.{m[2]}"] = tensor
        elif name == "synthesis.b4.const":
            out["input.input"] = tensor[None]
        elif name != "mapping.w_avg":
            _, block, layer, field = name.split(".", 3)
            out.update(_rosinality_layer(int(block[1:]), layer, field, tensor))
    return out


def _rosinality_layer(resolution: int, layer: str, field: str, tensor: Tensor) -> dict[str, Tensor]:
    k = resolution.bit_length() - 4  # 0 for 8 pixels
    if layer == "torgb":
        prefix = "to_rgb1" if resolution == 4 else f"to_rgbs.{k}"
    else:
        prefix = "conv1" if resolution == 4 else f"convs.{2 * k + int(layer[-1])}"
    if field == "noise_const":
        number = 0 if resolution == 4 else 2 * k + 1 + int(layer[-1])
        return {f"noises.noise_{number}": tensor[None, None]}
    if field == "weight":
        kernels = {}
        if layer == "conv0":
            kernels[f"{prefix}.conv.blur.kernel"] = FILTER * 4
        if layer == "torgb" and resolution > 4:
            kernels[f"{prefix}.upsample.kernel"] = FILTER * 4
        return {f"{prefix}.conv.weight": tensor[None], **kernels}
    if field == "noise_strength":
        return {f"{prefix}.noise.weight": tensor.reshape(1)}
    if field == "bias":
        return (
            {f"{prefix}.bias": tensor.reshape(1, -1, 1, 1)} if layer == "torgb" else {f"{prefix}.activate.bias": tensor}
        )
    return {f"{prefix}.conv.modulation.{field.removeprefix('affine.')}": tensor}


def rosinality_checkpoint(
    generator: Generator, latent_avg: bool = True, noises: bool = True, training: bool = False
) -> dict:
    """The object that rosinality's converter (or, with `training`, its training script) passes to torch.save."""
    names = rosinality_names(generator)
    if not noises:
        names = OrderedDict((name, tensor) for name, tensor in names.items() if not name.startswith("noises."))
    checkpoint = {"g_ema": names}
    if latent_avg:
        checkpoint["latent_avg"] = generator.mapping.w_avg
    if training:
        parameter = torch.nn.Parameter(torch.randn(3))
        optimizer = torch.optim.Adam([parameter])
        parameter.grad = torch.ones(3)
        optimizer.step()
        checkpoint |= {"g": names, "d": {"final_linear.0.weight": torch.zeros(2, 2)}, "ada_aug_p": 0.0}
        checkpoint |= {"g_optim": optimizer.state_dict(), "args": argparse.Namespace(size=16, path="images")}
    return checkpoint


def encoder_checkpoint(generator: Generator, average: Tensor | None = None) -> dict:
    """The object that pSp, e4e and ReStyle pass to torch.save: encoder, generator as decoder, and average latent."""
    names = {f"decoder.{name}": tensor for name, tensor in rosinality_names(generator).items()}
    names |= {"encoder.input_layer.0.weight": torch.zeros(4, 3, 3, 3), "encoder.body.0.shortcut_layer.0.weight": FILTER}
    average = generator.mapping.w_avg.repeat(generator.num_ws, 1) if average is None else average
    return {"state_dict": names, "latent_avg": average, "opts": {"stylegan_size": generator.config.resolution}}


def torch_bytes(value: object, legacy: bool = False) -> bytes:
    """A torch file, as zip or in the format before PyTorch 1.6."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


# NVIDIA. Their networks pickle as calls of a function in their own package, which these modules impersonate.


@contextlib.contextmanager
def nvidia_package() -> Iterator[types.SimpleNamespace]:
    """Modules named like NVIDIA's, importable only inside the context."""

    class EasyDict(dict):
        pass

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the reader called what it found in the file")

    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")
    for item, module in ((EasyDict, util), (_reconstruct_persistent_obj, persistence)):
        item.__module__, item.__qualname__ = module.__name__, item.__name__
        setattr(module, item.__name__, item)
    modules = {"torch_utils": types.ModuleType("torch_utils"), "torch_utils.persistence": persistence}
    modules |= {"dnnlib": types.ModuleType("dnnlib"), "dnnlib.util": util}
    sys.modules.update(modules)
    try:
        yield types.SimpleNamespace(EasyDict=EasyDict, reconstruct=_reconstruct_persistent_obj)
    finally:
        for name in modules:
            del sys.modules[name]


class PersistentNetwork:
    """Object that pickles as NVIDIA's persistent classes do: source code, class name, and attributes."""

    def __init__(self, package: types.SimpleNamespace, class_name: str, state: dict, source: str):
        self.package, self.meta = package, {"type": "class", "version": 6, "module_src": source}
        self.meta |= {"class_name": class_name, "state": state}

    def __reduce__(self):
        return self.package.reconstruct, (self.package.EasyDict(self.meta),)


def nvidia_bytes(
    generator: Generator,
    protocol: int = 4,
    source: str = "raise SystemExit('executed')",
    extra: dict | None = None,
    **changes,
) -> bytes:
    """A network pickle of stylegan2-ada-pytorch.

    Args:
        generator: generator to store as G_ema and, with other weights, as G.
        protocol: protocol of pickle.
        source: claimed source code of the file's classes.
        extra: further entries of the file.
        changes: changed attributes, in every module that has them ("architecture", "activation", ...).
    """
    with nvidia_package() as package:
        network = _nvidia_modules(package, generator, source, changes)
        data = {"G": None, "D": PersistentNetwork(package, "Discriminator", {"_modules": {}}, source), "G_ema": network}
        data |= {"training_set_kwargs": package.EasyDict(path="images", resolution=16), "augment_pipe": None}
        return pickle.dumps(data | (extra or {}), protocol=protocol)


def _nvidia_modules(
    package: types.SimpleNamespace, generator: Generator, source: str, changes: dict
) -> PersistentNetwork:
    """The tree of modules described by dotted names, each with the attributes of NVIDIA's."""
    config, tree = generator.config, {}
    tensors = dict(generator.state_dict())
    for name in [n for n in tensors if re.fullmatch(r".*\.(conv[01]\.bias|torgb\.bias|skip\.weight)", n)]:
        layer, block = name.rpartition(".")[0], name.split(".")[1]
        tensors[f"synthesis.{block}.resample_filter"] = FILTER
        if not layer.endswith("torgb"):
            tensors[f"{layer}.resample_filter"] = FILTER
    for name, tensor in tensors.items():
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = tensor

    def module(path: str, node: dict) -> PersistentNetwork:
        own = {k: v for k, v in node.items() if isinstance(v, Tensor)}
        buffers = {k: v for k, v in own.items() if k in ("w_avg", "noise_const", "resample_filter")}
        parameters = {k: torch.nn.Parameter(v) for k, v in own.items() if k not in buffers}
        attributes = _nvidia_attributes(path, config, own)
        state = {"training": False, "_parameters": OrderedDict(parameters), "_buffers": OrderedDict(buffers)}
        state |= {"_non_persistent_buffers_set": set(), "_backward_hooks": OrderedDict()}
        state |= {k: changes.get(k, v) for k, v in attributes.items()}
        children = {k: module(f"{path}.{k}".strip("."), v) for k, v in node.items() if isinstance(v, dict)}
        state["_modules"] = OrderedDict(children)
        return PersistentNetwork(package, path.split(".")[-1] or "Generator", state, source)

    return module("", tree)


def _nvidia_attributes(path: str, config: GeneratorConfig, own: dict[str, Tensor]) -> dict:
    leaf = path.split(".")[-1]
    if leaf == "mapping":
        return {"c_dim": config.c_dim, "z_dim": config.z_dim, "num_layers": config.mapping_layers, "w_avg_beta": 0.995}
    if leaf.startswith("fc") or leaf in ("affine", "embed"):
        multiplier = config.mapping_lr_multiplier if leaf.startswith("fc") else 1
        gain = multiplier / np.sqrt(own["weight"].shape[1])  # a NumPy number, as in NVIDIA's files
        activation = "lrelu" if leaf.startswith("fc") else "linear"
        return {"activation": activation, "weight_gain": gain, "bias_gain": multiplier}
    if leaf in ("conv0", "conv1"):
        clamp = {"activation": "lrelu", "conv_clamp": config.conv_clamp, "act_gain": np.sqrt(2)}
        resolution = len(own["noise_const"]) * 4 // config.start[0]
        return {**clamp, "resolution": resolution, "use_noise": True, "up": 2 if leaf == "conv0" else 1}
    if leaf == "torgb":
        return {"conv_clamp": config.conv_clamp}
    if leaf == "skip":
        return {"conv_clamp": None, "activation": "linear", "up": 2}
    return {"architecture": config.architecture, "use_fp16": True} if re.fullmatch(r"b\d+", leaf) else {}


# TensorFlow


def tensorflow_bytes(
    generator: Generator,
    protocol: int = 3,
    growing: bool = False,
    lod: float = 0,
    alone: bool = False,
    pixels: bool = False,
    convert: Callable[[np.ndarray], np.ndarray] = lambda array: array,
    **arguments,
) -> bytes:
    """A network pickle of NVlabs/stylegan2 or stylegan2-ada: the generator as Gs.

    Args:
        generator: generator of any architecture; "orig" can be written like growing networks of configs B to D.
        protocol: protocol of pickle.
        growing: whether to name the to-RGB layers as in growing networks, with an additional one.
        lod: remaining level of detail of a growing network.
        alone: whether the file is Gs, instead of a tuple with it.
        pixels: whether blocks are named by height and width, as in the repositories that first made other forms.
        convert: function applied to every array.
        arguments: arguments of the network, besides those that follow from its config.
    """
    with tensorflow_package() as network:
        known = {"conv_clamp": generator.config.conv_clamp, "architecture": generator.config.architecture}
        known |= {"resolution": generator.config.resolution, "resample_kernel": [1, 3, 3, 1], **arguments}
        known |= {"label_size": generator.config.c_dim, "mapping_lrmul": generator.config.mapping_lr_multiplier}
        other = network("G", [("lod", np.float32(0))], known)
        average = _tensorflow_network(network, generator, known, growing, lod, pixels, convert)
        parts = (other, network("D", [], {}), average)
        return pickle.dumps(average if alone else parts, protocol=protocol)


@contextlib.contextmanager
def tensorflow_package() -> Iterator[type]:
    """NVIDIA's class of TensorFlow networks, importable only inside the context."""

    class Network:
        def __init__(self, name: str, variables: list, arguments: dict, **components):
            self.state = {"version": 4, "name": name, "static_kwargs": arguments, "components": components}
            self.state |= {"build_module_src": "raise SystemExit('executed')", "build_func_name": "G_main"}
            self.state |= {"variables": variables}

        def __getstate__(self):
            return self.state

    names = ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network")
    Network.__module__, Network.__qualname__ = names[-1], "Network"
    modules = {name: types.ModuleType(name) for name in names}
    modules[names[-1]].Network = Network
    sys.modules.update(modules)
    try:
        yield Network
    finally:
        for name in names:
            del sys.modules[name]


def _tensorflow_network(
    network: type, generator: Generator, arguments: dict, growing: bool, lod: float, pixels: bool, convert: Callable
):
    """The generator as three networks: contents of the outer one, and the two inside."""
    parts: dict[str, list] = {"": [("lod", np.float32(lod))], "mapping": [], "synthesis": []}
    for name, tensor in generator.state_dict().items():
        part, variable, array = _tensorflow_variable(name, tensor.numpy())
        array = convert(array) if array.ndim else array
        if pixels and (m := re.fullmatch(r"(\d+)x\d+(/.+)", variable)):
            variable = "x".join(map(str, generator.config.size(int(m[1])))) + m[2]
        if growing and "ToRGB" in variable:
            variable = "ToRGB_lod0/" + variable.rpartition("/")[2]
            parts[part].append((variable.replace("lod0", "lod1"), array + 1))
        parts[part].append((variable, array))
    inner = {part: network(f"G_{part}", parts[part], arguments) for part in ("mapping", "synthesis")}
    return network("G", parts[""], arguments, **inner)


def _tensorflow_variable(name: str, array: np.ndarray) -> tuple[str, str, np.ndarray]:
    """Network, name there, and value of a variable."""
    if name == "mapping.w_avg":
        return "", "dlatent_avg", array
    if m := re.fullmatch(r"mapping\.(?:fc(\d+)|embed)\.(\w+)", name):
        return "mapping", f"{f'Dense{m[1]}' if m[1] else 'LabelEmbed'}/{m[2]}", array.T
    if name == "synthesis.b4.const":
        return "synthesis", "4x4/Const/const", array[None]
    _, block, layer, field = name.split(".", 3)
    resolution = int(block[1:])
    if field == "noise_const":
        number = 2 * resolution.bit_length() - (7 if layer == "conv0" else 6)
        return "synthesis", f"noise{number}", array[None, None]
    theirs = {"conv0": "Conv0_up", "conv1": "Conv1" if resolution > 4 else "Conv", "torgb": "ToRGB", "skip": "Skip"}
    scope = f"{resolution}x{resolution}/{theirs[layer]}"
    if field == "noise_strength":
        return "synthesis", f"{scope}/noise_strength", array[()]  # a NumPy number, as from TensorFlow
    if field == "affine.bias":
        return "synthesis", f"{scope}/mod_bias", array - 1
    if field == "affine.weight":
        return "synthesis", f"{scope}/mod_weight", array.T
    if field == "weight":
        array = array.transpose(2, 3, 1, 0)
        return "synthesis", f"{scope}/weight", array[::-1, ::-1] if layer in ("conv0", "skip") else array
    return "synthesis", f"{scope}/{field}", array


# Loading


def put(folder: Path, data: bytes, name: str = "model") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refused(folder: Path, data: bytes) -> str:
    """The sentence with which a file is refused, without further effects and after little work."""
    with little_work(), pytest.raises(CheckpointError) as error:
        load_generator(put(folder, data))
    assert "\n" not in str(error.value)
    return str(error.value)


def containers(value: object) -> list[bytes]:
    """The value in each container that is a pickle."""
    return [pickle.dumps(value), torch_bytes(value), torch_bytes(value, legacy=True)]


def differing(a: Generator, b: Generator, but: tuple[str, ...] = ()) -> list[str]:
    """Names of the tensors with different bits."""
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    return [name for name in a if name not in but and not torch.equal(a[name], b[name])]
