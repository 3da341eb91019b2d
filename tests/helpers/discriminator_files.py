"""Make small discriminators, and files in which other projects store them."""

from __future__ import annotations

import pickle

import torch
from torch import Tensor

from helpers.checkpoint_files import FILTER, PersistentNetwork, nvidia_package
from nada.stylegan2.discriminator import Discriminator, DiscriminatorConfig


def alive(resolution: int = 16, seed: int = 3, **fields) -> Discriminator:
    """A small discriminator in which every tensor matters."""
    channels = (10, 8, 6, 4)[: resolution.bit_length() - 2]
    torch.default_generator.manual_seed(seed)
    discriminator = Discriminator(DiscriminatorConfig(resolution, channels, **fields))
    with torch.no_grad():
        for name, tensor in discriminator.named_parameters():
            if name.endswith("bias"):
                tensor.normal_()
    return discriminator.eval().requires_grad_(False)


def rosinality_names(discriminator: Discriminator) -> dict[str, Tensor]:
    """The discriminator's tensors by the names of rosinality's `d`."""
    blocks = len(discriminator.config.channels) - 1
    out = {}
    for name, tensor in discriminator.state_dict().items():
        block, layer, field = name.split(".")
        i = blocks + 3 - int(block[1:]).bit_length() + 1 if block != "b4" else 0
        part = "0.weight" if field == "weight" else "1.bias"
        if layer == "fromrgb":
            out[f"convs.0.{part}"] = tensor
        elif layer == "conv0":
            out[f"convs.{i}.conv1.{part}"] = tensor
        elif layer == "conv1":
            out[f"convs.{i}.conv2.{'1.weight' if field == 'weight' else '2.bias'}"] = tensor
            out[f"convs.{i}.conv2.0.kernel"] = FILTER
        elif layer == "skip":
            out |= {f"convs.{i}.skip.1.weight": tensor, f"convs.{i}.skip.0.kernel": FILTER}
        elif layer == "conv":
            out[f"final_conv.{part}"] = tensor
        else:
            out[f"final_linear.{('fc', 'out').index(layer)}.{field}"] = tensor
    return out


def nvidia_bytes(discriminator: Discriminator, extra: dict | None = None, **changes) -> bytes:
    """Pickle with the discriminator as "D"."""
    config, tree = discriminator.config, {}
    for name, tensor in discriminator.state_dict().items():
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = tensor
        if path[1] in ("conv0", "conv1", "skip", "conv"):
            node["resample_filter"] = FILTER
    tree["b4"] |= {"mbstd": {}, **(extra or {})}
    attributes = {
        "mbstd": {"group_size": config.group, "num_channels": 1},
        "fc": {"activation": "lrelu"},
        "out": {"activation": "linear"},
        "skip": {"activation": "linear", "conv_clamp": None},
        **{name: {"activation": "lrelu", "conv_clamp": config.conv_clamp} for name in ("conv", "conv0", "conv1")},
        "fromrgb": {"activation": "lrelu", "conv_clamp": config.conv_clamp},
    }

    with nvidia_package() as package:

        def module(name: str, node: dict) -> PersistentNetwork:
            own = {k: v for k, v in node.items() if isinstance(v, Tensor)}
            state = {"_parameters": own, "_buffers": {}}
            state["_modules"] = {k: module(k, v) for k, v in node.items() if isinstance(v, dict)}
            told = attributes.get(name, {"architecture": "resnet"} if name.startswith("b") else {})
            state |= {k: changes.get(k, v) for k, v in told.items()}
            return PersistentNetwork(package, name or "Discriminator", state, "raise SystemExit('executed')")

        return pickle.dumps({"G": None, "D": module("", tree), "G_ema": None})
