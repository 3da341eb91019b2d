"""Import the authors' implementation of StyleGAN-NADA from a checkout, and run it in benchmarks.

Our CLIP models take the place of OpenAI's package. Apart from that, only the device is changed, and the parts that
`Setup.changes` names.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada import Generator, GeneratorConfig
from nada.checkpoint import save_rosinality
from nada.clip.models import ClipEnsemble
from nada.clip.views import random_views
from nada.losses import directional_loss
from nada.seeding import seeded

UNUSED = "RN50"  # CLIP model that their losses load but never call; an empty module takes its place
SCALE = 100.0  # scale of CLIP's logits
LAZY = 0.8  # factor of their learning rate, meant for lazy regularization, which they do not use
DECAY = 0.99**LAZY  # decay of Adam's average of squares
CLEARED, FIRST_STEP, SHARED_NOISE = "Adam's averages cleared after the first step", "our first step", "shared noise"


@dataclass(frozen=True)
class Setup:
    """Settings of a training with the authors' code."""

    source: str
    target: str
    batch: int
    iterations: int
    learning_rate: float
    """Learning rate of Adam; the code's option `--lr` is larger by 1 / 0.8."""
    layers: str | int = "all"
    select_batch: int = 8
    seed: int = 0
    views: int = 0
    """Number of randomly moved copies of each image that CLIP sees, as in AdaptConfig; the original code has none."""
    changes: tuple[str, ...] = ()
    """Any of CLEARED, FIRST_STEP (where nothing has changed yet, the gradient is the direction of the text) and
    SHARED_NOISE (both twins get the same noise)."""


class OpenAI(nn.Module):
    """One of our CLIP models with the interface of OpenAI's package."""

    def __init__(self, model: nn.Module):
        super().__init__()
        model.float()
        self.encode_image, self.encode_text = model.encode_image, model.encode_text

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        a, b = (F.normalize(x, dim=1) for x in (self.encode_image(images), self.encode_text(texts)))
        logits = SCALE * a @ b.T
        return logits, logits.T


def openai_package(clip: ClipEnsemble) -> ModuleType:
    """Stand-in for the package `clip` with the models of an ensemble."""
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
    """Loader that reads a module written for the first GPU, and changes it to another device."""

    device = "cpu"

    def get_code(self, name: str):
        source = self.get_data(self.path).replace(b"'cuda:0'", repr(self.device).encode())
        return self.source_to_code(source, self.path)


def import_model(checkout: Path, device: str, clip: ClipEnsemble) -> ModuleType:
    """Import the module of the training class."""
    sys.dont_write_bytecode = True
    for folder in (str(checkout), str(checkout / "ZSSGAN")):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    sys.modules["clip"] = openai_package(clip)
    sys.modules.pop("ZSSGAN.criteria.clip_loss", None)  # it would hold the stand-in of an earlier call
    for name in ("requests", "IPython"):  # imported for downloads and notebooks only
        sys.modules.setdefault(name, ModuleType(name))
    import torch.utils.cpp_extension  # imported here, as it searches for CUDA
    from packaging.version import parse

    versions = ModuleType("pkg_resources")
    versions.parse_version = parse
    sys.modules.setdefault("pkg_resources", versions)
    if device == "cpu":
        torch.utils.cpp_extension.load = lambda *args, **kwargs: None  # skips its CUDA kernels
    loader = OnDevice("zssgan_model", str(checkout / "ZSSGAN/model/ZSSGAN.py"))
    loader.device = device if device == "cpu" else f"{device.split(':')[0]}:0"
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def make_net(checkout: Path, generator: Generator, clip: ClipEnsemble, setup: Setup, device: torch.device) -> nn.Module:
    """Build the training class around our generator: their network with our sizes and weights, and our mapping."""
    model, config = import_model(checkout, str(device), clip), generator.config
    model.Generator = partial(narrow, model.Generator, config.channels, config.w_dim)
    adaptive = setup.layers != "all"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "base.pt"
        save_rosinality(with_square_mapping(generator), path)
        arguments = SimpleNamespace(
            sg3=False, sgxl=False, frozen_gen_ckpt=str(path), train_gen_ckpt=str(path), size=config.resolution,
            phase=None, lambda_direction=1.0, lambda_patch=0.0, lambda_global=0.0, lambda_manifold=0.0,
            lambda_texture=0.0, clip_models=[m.name for m in clip], clip_model_weights=[m.weight for m in clip],
            source_class=setup.source, target_class=setup.target, auto_layer_k=setup.layers if adaptive else 0,
            auto_layer_iters=int(adaptive), auto_layer_batch=setup.select_batch, target_img_list=None, img2img_batch=2,
        )  # fmt: skip
        net = model.ZSSGAN(arguments)
    for twin in (net.generator_frozen, net.generator_trainable):
        twin.generator.style = Codes(generator)
    return net


def with_square_mapping(generator: Generator) -> Generator:
    """A generator with the same synthesis network, and a mapping network of the shape that rosinality's format has."""
    old = generator.config
    config = GeneratorConfig(old.resolution, old.channels, old.w_dim, old.w_dim, demod_eps=old.demod_eps)
    square = Generator(config)
    square.synthesis.load_state_dict(generator.synthesis.state_dict())
    return square


def narrow(
    network: Callable[..., nn.Module], channels: tuple[int, ...], width: int, size: int, _: int, *args, **kwargs
) -> nn.Module:
    """Build the authors' network with other sizes of layers and codes; those of their class are fixed."""
    net = network(size, width, *args, **kwargs)
    layers, shades, below = type(net.conv1), type(net.to_rgb1), channels[0]
    net.input = type(net.input)(below)
    net.conv1, net.to_rgb1 = layers(below, below, 3, width), shades(below, width, upsample=False)
    for i, here in enumerate(channels[1:]):
        net.convs[2 * i] = layers(below, here, 3, width, upsample=True)
        net.convs[2 * i + 1] = layers(here, here, 3, width)
        net.to_rgbs[i] = shades(here, width)
        below = here
    return net


class Codes(nn.Module):
    """A generator's mapping network with the interface of theirs, whose z has 512 numbers."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.mapping, self.z_dim = copy.deepcopy(generator.mapping), generator.config.z_dim

    def forward(self, z: Tensor) -> Tensor:
        return self.mapping.w(z[:, : self.z_dim])


def optimizer(net: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Adam as their training loop configures it."""
    return torch.optim.Adam(net.generator_trainable.parameters(), lr=learning_rate, betas=(0.0, DECAY))


def train(
    checkout: Path, base: Generator, clip: ClipEnsemble, setup: Setup
) -> Iterator[tuple[int, Callable[[Tensor], Tensor]]]:
    """Train with the authors' code; yields for each iteration its number and a function of codes [N, L, D] to images.

    Number 0 comes before training, with images of the base.
    """
    device = next(base.parameters()).device
    net = make_net(checkout, base, clip, setup, device)
    adam, random = optimizer(net, setup.learning_rate), seeded(setup.seed)
    torch.manual_seed(setup.seed)
    if SHARED_NOISE in setup.changes:
        share_noise(net)
    shown: list[Callable[[Tensor], Tensor]] = []
    for loss in net.clip_loss_models.values():
        change_loss(loss, shown, FIRST_STEP in setup.changes)

    @torch.no_grad()
    def render(ws: Tensor) -> Tensor:
        options = {"input_is_latent": True, "randomize_noise": False}
        return torch.cat([net.generator_trainable([part], **options)[0] for part in ws.split(8)])

    yield 0, render
    for iteration in range(1, setup.iterations + 1):
        net.train()
        shown[:] = [random_views(setup.views, setup.batch, random)]
        _, loss = net([torch.randn(setup.batch, base.config.z_dim, device=device)])
        net.zero_grad()
        loss.backward()
        adam.step()
        if iteration == 1 and CLEARED in setup.changes:
            adam = optimizer(net, setup.learning_rate)
        net.eval()
        yield iteration, render


def share_noise(net: nn.Module) -> None:
    """Make both generators use the same noise for the same codes."""
    for twin in (net.generator_frozen, net.generator_trainable):

        def forward(styles, *args, plain=twin.forward, **kwargs):
            with torch.random.fork_rng():
                torch.manual_seed(int(1e6 * float(styles[0].flatten()[0])) & 0xFFFFFFFF)
                return plain(styles, *args, **kwargs)

        twin.forward = forward


def change_loss(loss: nn.Module, shown: list[Callable[[Tensor], Tensor]], first_step: bool) -> None:
    """Make one of their losses see views of the images and, with `first_step`, start in the direction of the text.

    Args:
        loss: loss for one CLIP model.
        shown: list that holds the function for views of a batch.
        first_step: whether to use our directional loss, which differs from theirs while nothing has changed.
    """
    plain = loss.clip_directional_loss

    def directional(before: Tensor, source: str, after: Tensor, target: str) -> Tensor:
        before, after = shown[0](before), shown[0](after)
        if not first_step:
            return plain(before, source, after, target)
        if loss.target_direction is None:
            loss.target_direction = loss.compute_text_direction(source, target)
        before, after = loss.get_image_features(before), loss.get_image_features(after)
        return directional_loss(before, after, loss.target_direction[0])

    loss.clip_directional_loss = directional
