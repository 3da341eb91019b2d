"""The public implementation of StyleGAN-NADA beside ours: its code comes from a checkout, and only when it is timed.

Its CLIP models are the very modules that ours uses, in place of OpenAI's package: their speed is not what is compared.
Beyond that, and the device, it runs as it is.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
import torch.nn.functional as F
import torch.utils.cpp_extension
from speed_timed import CLIPS, WIDTH, Timed
from torch import nn

from nada import Generator
from nada.clip.models import ClipEnsemble

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

UNUSED = "RN50"  # loaded by its losses and never called; here it weighs nothing
SCALE = 100.0  # of CLIP's logits
OPTIMIZER = {"lr": 0.002 * 0.8, "betas": (0.0, 0.99**0.8)}


class Reference(Timed):
    """An iteration of its training loop."""

    def prepare(self, generator: Generator, clip: ClipEnsemble) -> None:
        from helpers.checkpoint_files import rosinality_checkpoint, torch_bytes

        case = self.case
        model = import_model(Path(case.reference), case.device, clip)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "base.pt"
            path.write_bytes(torch_bytes(rosinality_checkpoint(generator.cpu())))
            adaptive = case.layers != "all"
            self.net = model.ZSSGAN(
                SimpleNamespace(
                    sg3=False, sgxl=False, frozen_gen_ckpt=str(path), train_gen_ckpt=str(path), size=case.size,
                    phase=None, lambda_direction=1.0, lambda_patch=0.0, lambda_global=0.0, lambda_manifold=0.0,
                    lambda_texture=0.0, clip_models=list(CLIPS), clip_model_weights=[1.0] * len(CLIPS),
                    source_class="photo", target_class="sketch", auto_layer_k=case.layers if adaptive else 0,
                    auto_layer_iters=int(adaptive), auto_layer_batch=case.select_batch, target_img_list=None,
                    img2img_batch=2,
                )
            )  # fmt: skip
        for loss in self.net.clip_loss_models.values():  # what it reads from the texts in its first step
            loss.target_direction = F.normalize(torch.randn(1, WIDTH, device=self.device), dim=1)
        self.optimizer = torch.optim.Adam(self.net.generator_trainable.parameters(), **OPTIMIZER)
        self.net.train()

    def work(self) -> None:
        z = torch.randn(self.case.batch, WIDTH, device=self.device)
        _, loss = self.net([z])
        self.net.zero_grad()
        loss.backward()
        self.optimizer.step()


class OpenAI(nn.Module):
    """One of our CLIP models with the methods of OpenAI's package."""

    def __init__(self, model: nn.Module):
        super().__init__()
        model.float()
        self.encode_image, self.encode_text = model.encode_image, model.encode_text

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = (F.normalize(x, dim=1) for x in (self.encode_image(images), self.encode_text(texts)))
        logits = SCALE * a @ b.T
        return logits, logits.T


def openai_package(clip: ClipEnsemble) -> ModuleType:
    """A stand-in for the package `clip`."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Lambda, Normalize, Resize, ToTensor

    models = {model.name: model for model in clip}

    def load(name: str, device: str) -> tuple[nn.Module, Compose]:
        model = models[name if name in models else next(iter(models))]
        steps = [Resize(model.size, InterpolationMode.BICUBIC), CenterCrop(model.size), Lambda(lambda x: x), ToTensor()]
        normalize = Normalize(model.mean.flatten().tolist(), model.std.flatten().tolist())
        return OpenAI(model.model) if name != UNUSED else nn.Identity(), Compose([*steps, normalize])

    package = ModuleType("clip")
    package.load, package.tokenize = load, next(iter(models.values())).tokenize
    return package


class OnDevice(SourceFileLoader):
    """Reads a module that is written for the first GPU, for another device."""

    device = "cpu"

    def get_code(self, name: str):
        source = self.get_data(self.path).replace(b"'cuda:0'", repr(self.device).encode())
        return self.source_to_code(source, self.path)


def import_model(checkout: Path, device: str, clip: ClipEnsemble) -> ModuleType:
    """The module of its training class."""
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(checkout), str(checkout / "ZSSGAN")]
    sys.modules["clip"] = openai_package(clip)
    for name in ("requests", "IPython"):  # imported for downloads and notebooks
        sys.modules.setdefault(name, ModuleType(name))
    versions = ModuleType("pkg_resources")
    from packaging.version import parse

    versions.parse_version = parse
    sys.modules.setdefault("pkg_resources", versions)
    if device == "cpu":
        torch.utils.cpp_extension.load = lambda *args, **kwargs: None  # its CUDA kernels; on a CPU it does without
    loader = OnDevice("zssgan_model", str(checkout / "ZSSGAN/model/ZSSGAN.py"))
    loader.device = device if device == "cpu" else f"{device.split(':')[0]}:0"
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module
