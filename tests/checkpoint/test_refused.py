"""Files that are not StyleGAN2 generators are refused with a sentence that says what they are."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoint_files import nvidia_bytes, nvidia_package, rosinality_checkpoint, small_generator, torch_bytes
from PIL import Image
from safetensors.torch import save

from nada.checkpoint import inspect_file, load_generator, save_generator
from nada.demo import GENERATORS
from nada.errors import CheckpointError


def refusal(folder: Path, data: bytes, name: str = "model.pt") -> str:
    path = folder / name
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        load_generator(path)
    sentence = str(error.value)
    assert sentence.startswith(f"{name}: ")
    assert "\n" not in sentence
    assert len(sentence) < 600
    report = inspect_file(path)
    assert not report["loadable"]
    assert sentence == f"{name}: {report['reason']}"
    return sentence


def image_bytes(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    return buffer.getvalue()


def zip_bytes(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 381624121\n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (image_bytes("PNG"), "PNG image"),
        (image_bytes("JPEG"), "JPEG image"),
        (image_bytes("WEBP"), "WebP image"),
        (image_bytes("GIF"), "GIF image"),
        (b"hello, this is a text\n" * 20, "text, not a model"),
        (b"\n  <!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"<HTML><head></head>", "web page"),
        (b'{"error": "not found"}', "JSON text"),
        (POINTER, "git-lfs pointer"),
        (bytes(4096), "zeros"),
        (b"\x1f\x8b\x08" + bytes(30), "gzip"),
        (b"GGUF" + bytes(60), "GGUF"),
        (b"\x00\x01\x02\xff" * 50, "not a known kind"),
        (zip_bytes({"a.txt": b"hello"}), "zip archive, but not a PyTorch file"),
        (zip_bytes({"a/data.pkl": b"x", "b/data.pkl": b"x"}), "zip archive, but not a PyTorch file"),
        (zip_bytes({"m/data.pkl": b"x", "m/constants.pkl": b"x"}), "TorchScript"),
        (zip_bytes({"m/data.pkl": b"\x80\x02}.", "m/byteorder": b"big"}), "big-endian"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path, data, what):
    assert what in refusal(tmp_path, data)


def test_a_numpy_file(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    assert "NumPy array" in refusal(tmp_path, buffer.getvalue())


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ({"g_ema": ["init.init.0.weight_orig", "se_64.main.1.weight_orig"]}, "FastGAN"),
        ({"generator": ["progression.0.adain1.style.linear.bias"]}, "StyleGAN model (the first)"),
        ({"GAN": ["G.blocks.0.to_style1.weight", "S.net.0.weight"]}, "lucidrains"),
        ({"state_dict": ["encoder.input_layer.0.weight", "decoder.input.input"]}, "without its generator"),
        ({"params_ema": ["style_conv1.modulated_conv.weight", "constant_input.weight"]}, "BasicSR or GFPGAN"),
        ({"d": ["final_linear.0.weight", "convs.0.0.weight"]}, "discriminator"),
        ({"D": ["b4.mbstd.x", "b4.fc.weight"]}, "discriminator"),
        ({"": ["model.diffusion_model.input_blocks.0.0.weight"]}, "diffusion"),
        ({"": ["lora_unet_down_blocks_0.lora_up.weight"]}, "diffusion"),
        ({"": ["double_blocks.0.img_attn.qkv.weight"]}, "diffusion"),
        ({"": ["decoder.conv_in.weight", "encoder.conv_in.weight"]}, "VAE"),
        ({"": ["visual.conv1.weight", "logit_scale"]}, "CLIP model"),
        ({"": ["text_model.encoder.layers.0.mlp.fc1.weight"]}, "CLIP model"),
        ({"G_ema": ["synthesis.input.freqs", "mapping.fc0.weight"]}, "StyleGAN3"),
        ({"G_ema": ["synthesis.input.freqs", "mapping.embed_proj.weight"]}, "StyleGAN-XL"),
        ({"": ["layers.0.weight", "layers.1.weight"]}, "no StyleGAN2 generator (layers.0.weight"),
        ({"": []}, "holds no tensors"),
    ],
)
@pytest.mark.parametrize("container", ["torch", "safetensors"])
def test_other_models_are_named(tmp_path, names, what, container):
    tree = {outer: {name: torch.ones(2) for name in inner} for outer, inner in names.items()}
    if container == "torch":
        data = torch_bytes(tree.get("", tree))
    else:
        data = save({f"{o}.{n}".strip("."): t for o, inner in tree.items() for n, t in inner.items()})
    sentence = refusal(tmp_path, data)
    assert what in sentence
    assert "what can be loaded" in sentence or "CLIP" in sentence


def test_tensorflow_pickles(tmp_path, monkeypatch):
    """Pickle as by NVlabs/stylegan2: a tuple of three networks, with arrays and source code as attributes."""

    class Network:
        def __getstate__(self):
            variables = [("G_synthesis/4x4/Const/const", np.zeros((1, 8, 4, 4), np.float32))]
            return {"version": 4, "variables": variables, "build_module_src": "raise SystemExit"}

    module = types.ModuleType("dnnlib.tflib.network")
    Network.__module__, Network.__qualname__, module.Network = module.__name__, "Network", Network
    with monkeypatch.context() as patch:
        for name in ("dnnlib", "dnnlib.tflib"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setitem(sys.modules, module.__name__, module)
        data = pickle.dumps((Network(), Network(), Network()), protocol=3)
    assert "TensorFlow" in refusal(tmp_path, data)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"c_dim": 10}, "the c_dim of this StyleGAN2 is '10', its tensors say 0"),
        ({"architecture": "resnet"}, "the architecture of this StyleGAN2 is 'resnet', its tensors say 'skip'"),
        ({"architecture": "orig"}, "the architecture of this StyleGAN2 is 'orig'"),
        ({"activation": "relu"}, "activates with ['relu']"),
        ({"conv_clamp": "256"}, "conv_clamp of this network is '256'"),
        ({"conv_clamp": -1.0}, "conv_clamp"),
        ({"conv_clamp": float("inf")}, "not a finite number"),
        ({"conv_clamp": 1 << 2000}, "cannot be built"),
        ({"bias_gain": float("inf")}, "not a finite number"),
        ({"bias_gain": 0.0}, "learning rate multiplier"),
    ],
)
def test_nvidia_networks_of_other_kinds(tmp_path, changes, what):
    assert what in refusal(tmp_path, nvidia_bytes(small_generator(), **changes))


def test_nvidia_layers_that_clamp_differently(tmp_path):
    generator = small_generator()
    data = nvidia_bytes(generator, conv_clamp=256.0)
    other = data.replace(pickle.dumps(256.0, 4)[-10:-1], pickle.dumps(128.0, 4)[-10:-1], 1)
    assert other != data
    assert "differs between the layers" in refusal(tmp_path, other)


def test_an_embedding_of_classes_without_its_bias(tmp_path):
    tensors = small_generator(z_dim=16).state_dict() | {"mapping.embed.weight": torch.zeros(14, 3)}
    assert "mapping.embed.bias" in refusal(tmp_path, save(tensors))


@pytest.mark.parametrize("inputs", [28, 17])
def test_classes_whose_embedding_was_lost_under_rosinality_names(tmp_path, inputs):
    """The first layer takes z and a class embedding; loaded as unconditional, noise would take the class's place."""
    data = torch_bytes(rosinality_checkpoint(small_generator(z_dim=inputs)))
    assert f"takes {inputs} numbers and is 14 wide: this looks like a generator with classes" in refusal(tmp_path, data)


def test_classes_whose_embedding_was_lost_under_nvidia_names(tmp_path):
    tensors = small_generator(c_dim=3).state_dict()
    lost = {name: tensor for name, tensor in tensors.items() if "embed" not in name}
    assert "this looks like a generator with classes" in refusal(tmp_path, save(lost))
    wide = small_generator(z_dim=28)  # a pickle states the size of z
    path = tmp_path / "wide.pkl"
    path.write_bytes(nvidia_bytes(wide))
    assert load_generator(path).config.z_dim == 28
    assert "the z_dim of this StyleGAN2 is '14', its tensors say 28" in refusal(tmp_path, nvidia_bytes(wide, z_dim=14))


def test_nvidia_pickle_without_a_generator(tmp_path):
    with nvidia_package() as package:
        data = pickle.dumps({"snapshot": package.EasyDict(D=None)})
    assert "holds no tensors" in refusal(tmp_path, data)


def test_a_constant_that_does_not_fit_the_noise(tmp_path):
    checkpoint = rosinality_checkpoint(small_generator())
    checkpoint["g_ema"]["input.input"] = torch.randn(1, 12, 4, 2)
    assert "noise_const [16, 16] (should be [16, 8])" in refusal(tmp_path, torch_bytes(checkpoint))
    checkpoint["g_ema"]["input.input"] = torch.randn(1, 12, 4, 1000)
    assert "start is (4, 1000)" in refusal(tmp_path, torch_bytes(checkpoint))


def test_a_missing_block(tmp_path):
    tensors = {n: t for n, t in small_generator(32).state_dict().items() if not n.startswith("synthesis.b16")}
    assert "3 entries" in refusal(tmp_path, save(tensors))


# Sources without a file


def test_sources_that_are_not_files(tmp_path):
    for source, what in [
        (tmp_path, "is a folder"),
        (tmp_path / "absent.pt", "there is no file"),
        ("dogs", "name: 'demo'"),
        ("", "is a folder"),
        ("a" * 10_000, "not the path of a file"),
        ("a\0b", "there is no file"),
        ("https://example.org/ffhq.pkl", "is a web address"),
    ]:
        for function in (load_generator, inspect_file):
            with pytest.raises(CheckpointError, match=what):
                function(source)


def test_an_incomplete_installation(tmp_path, monkeypatch):
    monkeypatch.setitem(GENERATORS, "demo", tmp_path / "dog.safetensors")
    with pytest.raises(CheckpointError, match="missing from this installation"):
        load_generator("demo")


def test_names_of_embedded_generators(tmp_path, monkeypatch):
    generator = small_generator()
    save_generator(generator, tmp_path / "dog.safetensors")
    monkeypatch.setitem(GENERATORS, "demo", tmp_path / "dog.safetensors")
    assert load_generator("demo").fingerprint() == generator.fingerprint()
    assert inspect_file("demo")["file"] == "dog.safetensors"


def test_a_path_with_the_name_of_an_embedded_generator(tmp_path, monkeypatch):
    """It is that generator, unless there is a file; a text always is."""
    monkeypatch.chdir(tmp_path)
    included = load_generator("demo").fingerprint()
    assert load_generator(Path("demo")).fingerprint() == included
    assert inspect_file(Path("demo-person"))["file"] == "person_photo.safetensors"
    Path("demo").mkdir()
    assert load_generator(Path("demo")).fingerprint() == included
    Path("demo").rmdir()
    own = small_generator()
    save_generator(own, "demo")
    assert load_generator(Path("demo")).fingerprint() == own.fingerprint()
    assert inspect_file(Path("demo"))["file"] == "demo"
    assert load_generator("demo").fingerprint() == included


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    path.write_bytes(b"x")

    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        load_generator(path)


@pytest.mark.parametrize("channels", [5, 96])
def test_a_part_of_a_3d_generator_is_not_taken_for_pictures(tmp_path, channels):
    """EG3D's backbone is a StyleGAN2 whose image is three planes of 32 features."""
    sentence = refusal(
        tmp_path, torch_bytes(rosinality_checkpoint(small_generator(8, img_channels=channels, z_dim=14)))
    )
    assert f"have {channels} channels" in sentence
