"""Write small encoder files for tests, as the scripts of pSp, e4e and ReStyle pass them to torch.save."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.checkpoint_files import encoder_checkpoint
from nada.stylegan2 import Generator

WIDTHS = (16, 16, 32, 48, 32)
KINDS_OF_FILES = {  # name -> encoder_type, trunk, whether it is a pyramid, channels
    "psp": ("GradualStyleEncoder", "ir_se", True, 3),
    "e4e": ("Encoder4Editing", "ir_se", True, 3),
    "restyle_psp": ("BackboneEncoder", "ir_se", False, 6),
    "restyle_e4e": ("ProgressiveBackboneEncoder", "ir_se", False, 6),
    "restyle_psp_pyramid": ("GradualStyleEncoder", "ir_se", True, 6),
    "restyle_psp_pyramid_resnet": ("ResNetGradualStyleEncoder", "resnet", True, 6),
    "restyle_psp_resnet": ("ResNetBackboneEncoder", "resnet", False, 6),
    "restyle_e4e_resnet": ("ResNetProgressiveBackboneEncoder", "resnet", False, 6),
}
UNITS = {"ir_se": [3, 4, 14, 3], "resnet": [3, 4, 6, 3]}
Tensors = dict[str, Tensor]


class Random:
    """Random tensors by the names in the authors' files."""

    def __init__(self, seed: int = 0):
        self.rng, self.tensors = torch.Generator().manual_seed(seed), {}

    def weight(self, name: str, *shape: int) -> None:
        fan_in = max(1, torch.Size(shape[1:]).numel())
        self.tensors[name] = torch.randn(shape, generator=self.rng) * (2 / fan_in) ** 0.5

    def vector(self, name: str, size: int, middle: float = 0.0) -> None:
        self.tensors[name] = middle + 0.1 * torch.randn(size, generator=self.rng)

    def norm(self, name: str, size: int, gain: float = 1.0) -> None:
        self.vector(f"{name}.weight", size, gain)
        self.vector(f"{name}.bias", size)
        self.vector(f"{name}.running_mean", size)
        self.tensors[f"{name}.running_var"] = 0.5 + torch.rand(size, generator=self.rng)
        self.tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)


def file_tensors(trunk: str, pyramid: bool, channels: int, num_ws: int, w_dim: int, seed: int = 0) -> Tensors:
    """The encoder's entry of a file."""
    random = Random(seed)
    if trunk == "ir_se":
        random.weight("input_layer.0.weight", WIDTHS[0], channels, 3, 3)
        random.norm("input_layer.1", WIDTHS[0])
        random.vector("input_layer.2.weight", WIDTHS[0], 0.25)
    else:
        random.weight("conv1.weight", WIDTHS[0], channels, 7, 7)
        random.norm("bn1", WIDTHS[0])
        random.vector("relu.weight", WIDTHS[0], 0.25)
    number, narrow = 0, WIDTHS[0]
    for count, wide in zip(UNITS[trunk], WIDTHS[1:], strict=True):
        for _ in range(count):
            unit = f"body.{number}"
            if trunk == "ir_se":
                random.norm(f"{unit}.res_layer.0", narrow)
                random.weight(f"{unit}.res_layer.1.weight", wide, narrow, 3, 3)
                random.vector(f"{unit}.res_layer.2.weight", wide, 0.25)
                random.weight(f"{unit}.res_layer.3.weight", wide, wide, 3, 3)
                random.norm(f"{unit}.res_layer.4", wide, 0.3)
                random.weight(f"{unit}.res_layer.5.fc1.weight", wide // 16, wide, 1, 1)
                random.weight(f"{unit}.res_layer.5.fc2.weight", wide, wide // 16, 1, 1)
                shortcut = f"{unit}.shortcut_layer"
            else:
                random.weight(f"{unit}.conv1.weight", wide, narrow, 3, 3)
                random.norm(f"{unit}.bn1", wide)
                random.weight(f"{unit}.conv2.weight", wide, wide, 3, 3)
                random.norm(f"{unit}.bn2", wide, 0.3)
                shortcut = f"{unit}.downsample"
            if narrow != wide:
                random.weight(f"{shortcut}.0.weight", wide, narrow, 1, 1)
                random.norm(f"{shortcut}.1", wide)
            number, narrow = number + 1, wide
    if pyramid:
        random.weight("latlayer1.weight", WIDTHS[4], WIDTHS[3], 1, 1)
        random.vector("latlayer1.bias", WIDTHS[4])
        random.weight("latlayer2.weight", WIDTHS[4], WIDTHS[2], 1, 1)
        random.vector("latlayer2.bias", WIDTHS[4])
    for j in range(num_ws):
        layers = 4 if not pyramid or j < 3 else 5 if j < 7 else 6
        for i in range(layers):
            random.weight(f"styles.{j}.convs.{2 * i}.weight", w_dim, w_dim if i else WIDTHS[4], 3, 3)
            random.vector(f"styles.{j}.convs.{2 * i}.bias", w_dim)
        random.tensors[f"styles.{j}.linear.weight"] = torch.randn(w_dim, w_dim, generator=random.rng)
        random.vector(f"styles.{j}.linear.bias", w_dim)
    return random.tensors


def encoder_contents(generator: Generator, kind: str, options: dict | None = None, num_ws: int | None = None) -> dict:
    """A small version of the object that the authors' training script passes to torch.save."""
    encoder_type, trunk, pyramid, channels = KINDS_OF_FILES[kind]
    rows = num_ws or generator.num_ws
    tensors = file_tensors(trunk, pyramid, channels, rows, generator.config.w_dim)
    average = 0.3 * torch.randn(rows, generator.config.w_dim, generator=torch.Generator().manual_seed(5))
    checkpoint = encoder_checkpoint(generator, average)
    names = {name: tensor for name, tensor in checkpoint["state_dict"].items() if name.startswith("decoder.")}
    names |= {f"encoder.{name}": tensor for name, tensor in tensors.items()}
    settings = {"encoder_type": encoder_type, "input_nc": channels, "start_from_latent_avg": True}
    settings |= {"dataset_type": "ffhq_encode", "n_iters_per_batch": 2, "learning_rate": 1e-4, "exp_dir": "x"}
    return checkpoint | {"state_dict": names, "opts": settings | (options or {})}
