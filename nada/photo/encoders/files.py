"""Load encoders from the files of their authors, recognized by content, without executing anything in them."""

from __future__ import annotations

import os
import re
from math import prod

import torch
from torch import Tensor

from ...checkpoint import rosinality
from ...checkpoint.canonical import NOISE
from ...checkpoint.containers import read_document
from ...checkpoint.document import Document
from ...checkpoint.loading import opened
from ...checkpoint.tensors import TensorView
from ...checkpoint.window import Window
from ...errors import CheckpointError, UsageError
from ...files import existing_file
from .published import CodeNetwork, EncoderConfig, PublishedEncoder
from .trunks import UNITS

MARK = "encoder.styles.0.linear.weight"  # a tensor that all encoders have, under any prefix
KINDS = {  # "encoder_type" in the files' options -> whether codes are offsets from the first
    "GradualStyleEncoder": False,
    "Encoder4Editing": True,
    "BackboneEncoder": False,
    "ProgressiveBackboneEncoder": True,
    "ResNetGradualStyleEncoder": False,
    "ResNetBackboneEncoder": False,
    "ResNetProgressiveBackboneEncoder": True,
}
MAX_WS = 64  # largest number of codes; there are 18 at 1024 pixels
# Generators are compared by the first MARKED numbers of each tensor with at most SMALL_TENSOR numbers.
SMALL_TENSOR, MARKED = 1 << 19, 256
MAX_NUMBERS = 1 << 29  # largest number of weights; e4e at 1024 pixels has half as many
COUNTER = "num_batches_tracked"
ADVICE = "give an encoder of pSp, e4e or ReStyle as its authors publish it"


@torch.inference_mode(False)
def load_published_encoder(path: str | os.PathLike[str]) -> PublishedEncoder:
    """Load an encoder of pSp, e4e or ReStyle, on the CPU and without gradients.

    Args:
        path: the file of its authors, with or without the generator that the encoder was trained for.

    Raises:
        CheckpointError: there is no such file, it is damaged, or holds no such encoder.
    """
    path = existing_file(path, ADVICE)
    with opened(path) as file:
        document = read_document(Window.whole(file))
        prefix = _prefix(document)
        views = {name: view for name, view in document.under(prefix).tensors.items() if not name.endswith(COUNTER)}
        config = _config(views, document, prefix)
        network = _network(config, _tensors(views, config))
        encoder = PublishedEncoder(config, network, _average(document, config), _marks(document))
        return encoder.eval().requires_grad_(False)


def _prefix(document: Document) -> str:
    """Return the key prefix of the encoder's tensors.

    Raises:
        CheckpointError: the file holds no encoder.
    """
    found = [name.removesuffix(MARK) for name in document.tensors if re.search(rf"(^|\.){re.escape(MARK)}$", name)]
    if not found:
        raise CheckpointError(f"the file holds no encoder that is known here; {ADVICE}")
    return f"{min(found, key=len)}encoder."


def _config(views: dict[str, TensorView], document: Document, prefix: str) -> EncoderConfig:
    """Return the encoder's config: its kind from the options in the file, its sizes from the shapes of its tensors."""
    options = _options(document)
    kind = options.get("encoder_type")
    if kind not in KINDS:
        raise CheckpointError(
            f"the file says that its encoder is {ascii(kind)[:80]}; supported are {', '.join(KINDS)}; {ADVICE}"
        )
    trunk = "ir_se" if "input_layer.0.weight" in views else "resnet"
    first = "input_layer.0.weight" if trunk == "ir_se" else "conv1.weight"
    in_unit = "res_layer.1.weight" if trunk == "ir_se" else "conv1.weight"
    starts = [sum(UNITS[trunk][:stage]) for stage in range(len(UNITS[trunk]))]
    heads = {int(m[1]) for name in views if (m := re.fullmatch(r"styles\.(\d{1,3})\.linear\.weight", name))}
    if heads != {*range(len(heads))} or len(heads) > MAX_WS:
        raise CheckpointError(f"the encoder has {len(heads)} codes, and not all in order; copy the file again")
    looks = options.get("n_iters_per_batch", 5)
    try:
        return EncoderConfig(
            offsets=KINDS[kind],
            trunk=trunk,
            widths=(_shape(views, first, 4)[0], *(_shape(views, f"body.{i}.{in_unit}", 4)[0] for i in starts)),
            num_ws=len(heads),
            w_dim=_shape(views, "styles.0.linear.weight", 2)[0],
            pyramid="latlayer1.weight" in views,
            channels=_shape(views, first, 4)[1],
            wide="car" in str(options.get("dataset_type", "")),
            iterations=looks if type(looks) is int else 5,
        )
    except UsageError as error:
        raise CheckpointError(f"the file's encoder cannot be built: {error}") from error


def _options(document: Document) -> dict[str, object]:
    """Return numbers and texts in the file's options by name, without prefixes."""
    found = {name: re.fullmatch(r"(?:.*\.)?opts\.(\w+)", name) for name in document.attributes}
    return {match[1]: document.attributes[name] for name, match in found.items() if match}


def _shape(views: dict[str, TensorView], name: str, rank: int) -> tuple[int, ...]:
    if name not in views or len(views[name].shape) != rank:
        raise CheckpointError(f"the encoder lacks {name}, or it is damaged; copy the file again")
    return views[name].shape


def _tensors(views: dict[str, TensorView], config: EncoderConfig) -> dict[str, Tensor]:
    """Read the network's tensors by the names that they have here, and check their shapes.

    Other tensors are ignored: the files also hold the layers that follow the trunk in ArcFace.
    """
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in CodeNetwork(config).state_dict().items()}
    if (numbers := sum(map(prod, expected.values()))) > MAX_NUMBERS:
        raise CheckpointError(f"the encoder has {numbers} weights; more than {MAX_NUMBERS} are not loaded")
    tensors = {}
    for name, shape in expected.items():
        if name.endswith(COUNTER):
            continue
        view = views.get(name.removeprefix("trunk."))
        if view is None or view.shape != tuple(shape):
            found = "lacks it" if view is None else f"has {list(view.shape)}"
            raise CheckpointError(
                f"the encoder's {name.removeprefix('trunk.')} should be {list(shape)}, and the file {found}; {ADVICE}"
            )
        tensors[name] = view.read()
        if not tensors[name].isfinite().all():
            raise CheckpointError(f"the encoder's {name} is not finite; copy the file again")
    return tensors


def _network(config: EncoderConfig, tensors: dict[str, Tensor]) -> CodeNetwork:
    """Build the network from the tensors, without copying them or drawing initial weights."""
    with torch.device("meta"):
        network = CodeNetwork(config)
    counters = {name: torch.zeros((), dtype=torch.long) for name in network.state_dict() if name.endswith(COUNTER)}
    network.load_state_dict({**tensors, **counters}, assign=True)
    return network


def _average(document: Document, config: EncoderConfig) -> Tensor:
    """Return the code that the network's results are relative to: [num_ws, w_dim], or [1, w_dim] for all codes."""
    if config.channels == 3 and _options(document).get("start_from_latent_avg") is False:
        return torch.zeros(1, config.w_dim)
    found = [view for name, view in document.tensors.items() if re.fullmatch(r"(.*\.)?latent_avg", name)]
    if not found:
        raise CheckpointError(f"the file lacks the average code, latent_avg, that its codes are relative to; {ADVICE}")
    average = found[0].read().reshape(-1, found[0].shape[-1])
    if average.shape not in ((config.num_ws, config.w_dim), (1, config.w_dim)) or not average.isfinite().all():
        raise CheckpointError(
            f"the file's average code is {list(found[0].shape)} instead of [{config.num_ws}, {config.w_dim}], or it is "
            "not finite; copy the file again"
        )
    return average


def _marks(document: Document) -> dict[str, Tensor]:
    """Return the first numbers of small tensors of the generator in the file, which identify the generator."""
    if not rosinality.matches(document):
        return {}
    tensors = rosinality.convert(document).tensors
    small = (name for name, view in tensors.items() if name.startswith("synthesis.") and view.numel <= SMALL_TENSOR)
    return {name: tensors[name].read().flatten()[:MARKED].clone() for name in small if not name.endswith(NOISE)}
