"""The networks compared with an independent float64 computation: modulated weights, zero insertion, plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.models import alive

from nada.errors import UsageError
from nada.stylegan2 import Generator, GeneratorConfig, standard_channels


def fir(x, gain):
    """Convolve [N, C, H, W] with [1, 3, 3, 1] x [1, 3, 3, 1], "full", one shifted copy per tap."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    kernel = torch.outer(taps, taps) / 64 * gain
    n, c, h, w = x.shape
    out = x.new_zeros(n, c, h + 3, w + 3)
    for i in range(4):
        for j in range(4):
            out[:, :, i : i + h, j : j + w] += kernel[i, j] * x
    return out


def insert_zeros(x):
    n, c, h, w = x.shape
    out = x.new_zeros(n, c, 2 * h, 2 * w)
    out[:, :, ::2, ::2] = x
    return out


def upsample(x):
    """Zero insertion, then the filter with two samples before and one after (Karras et al., upfirdn)."""
    return fir(insert_zeros(x), 4)[:, :, 1:-2, 1:-2]


def modulated(x, weight, style, demodulate, eps, up):
    """One image at a time with its own weights, equations 1 and 3; the kernel is summed tap by tap."""
    outputs = []
    scale = weight[0].numel() ** -0.5
    for image, s in zip(x, style, strict=True):
        w = weight * scale * s[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + eps).sqrt()
        k = w.shape[-1]
        image = image[None]
        if up:  # transposed convolution: every input pixel adds a kernel at twice its place
            h = image.shape[-1]
            full = image.new_zeros(1, len(w), 2 * h + 1, 2 * h + 1)
            for i in range(3):
                for j in range(3):
                    tap = torch.einsum("oc,nchw->nohw", w[:, :, i, j], image)
                    full[:, :, i : i + 2 * h : 2, j : j + 2 * h : 2] += tap
            outputs.append(fir(full, 4)[:, :, 2:-2, 2:-2])
        else:
            h, pad = image.shape[-1], k // 2
            padded = torch.nn.functional.pad(image, [pad] * 4)
            y = image.new_zeros(1, len(w), h, h)
            for i in range(k):
                for j in range(k):
                    y += torch.einsum("oc,nchw->nohw", w[:, :, i, j], padded[:, :, i : i + h, j : j + h])
            outputs.append(y)
    return torch.cat(outputs)


def reference(generator, z, psi, noise):
    """The whole generator in float64, from its state dict alone."""
    config = generator.config
    p = {name: t.double() for name, t in generator.state_dict().items()}
    clamp = (lambda x: x) if config.conv_clamp is None else (lambda x: x.clamp(-config.conv_clamp, config.conv_clamp))

    def lrelu(x):
        return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)

    def dense(x, name, lr=1.0):
        w = p[name + ".weight"]
        return x @ w.T * (lr / math.sqrt(w.shape[1])) + p[name + ".bias"] * lr

    w = z.double()
    w = w / (w.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in range(config.mapping_layers):
        w = lrelu(dense(w, f"mapping.fc{i}", config.mapping_lr_multiplier))
    w = p["mapping.w_avg"] + psi * (w - p["mapping.w_avg"])

    def conv(x, name, up):
        weight = p[name + ".weight"]
        eps = 1e-8 / weight[0].numel() if config.demod_eps == "raw" else 1e-8
        y = modulated(x, weight, dense(w, name + ".affine"), True, eps, up)
        if noise is not None:
            y = y + noise[name].double() * p[name + ".noise_strength"]
        return clamp(lrelu(y + p[name + ".bias"][:, None, None]))

    x = p["synthesis.b4.const"].expand(len(z), -1, -1, -1)
    image = None
    for r in config.resolutions:
        if r > 4:
            x = conv(x, f"synthesis.b{r}.conv0", True)
        x = conv(x, f"synthesis.b{r}.conv1", False)
        name = f"synthesis.b{r}.torgb"
        rgb = modulated(x, p[name + ".weight"], dense(w, name + ".affine"), False, 0, False)
        rgb = clamp(rgb + p[name + ".bias"][:, None, None])
        image = rgb if image is None else rgb + upsample(image)
    return image


CONFIGS = {
    "4px": GeneratorConfig(4, (8,), z_dim=6, w_dim=7, mapping_layers=1),
    "32px": GeneratorConfig(32, (24, 20, 16, 12), z_dim=16, w_dim=20, mapping_layers=2),
    "clamped": GeneratorConfig(16, (16, 16, 16), 8, 8, mapping_layers=3, conv_clamp=0.8, demod_eps="raw"),
    "wide": GeneratorConfig(64, (64, 64, 32, 16, 8), z_dim=32, w_dim=32, mapping_layers=8),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("psi", [1.0, 0.6])
@pytest.mark.parametrize("mode", ["const", "none"])
def test_equals_float64_reference(config, psi, mode):
    generator = alive(config)
    z = torch.randn(3, config.z_dim)
    noise = None
    if mode == "const":
        noise = {n.removesuffix(".noise_const"): t for n, t in generator.state_dict().items() if "noise_const" in n}
    expected = reference(generator, z, psi, noise)
    images = generator(z, psi, mode)
    assert images.shape == (3, 3, config.resolution, config.resolution)
    assert (images - expected).abs().max() < 2e-5 * expected.abs().max()


def test_clamp_bites_in_the_clamped_config():
    generator = alive(CONFIGS["clamped"])
    free = alive(GeneratorConfig(16, (16, 16, 16), 8, 8, mapping_layers=3, demod_eps="raw"))
    z = torch.randn(2, 8)
    assert (generator(z) - free(z)).abs().max() > 0.1


@pytest.mark.parametrize("config", [CONFIGS["32px"], CONFIGS["clamped"]], ids=["32px", "clamped"])
def test_gradients_equal_float64_reference(config):
    generator = alive(config).double().requires_grad_(True)
    z = torch.randn(2, config.z_dim, dtype=torch.float64)
    target = torch.randn(2, 3, config.resolution, config.resolution, dtype=torch.float64)
    names, parameters = zip(*generator.named_parameters(), strict=True)
    grads = torch.autograd.grad((generator(z, noise="none") * target).sum(), parameters, allow_unused=True)

    class Live:  # the parameters by their names in the state dict, so that the reference differentiates by them
        pass

    live = Live()
    live.config = generator.config
    live.state_dict = lambda: dict(generator.named_parameters()) | dict(generator.named_buffers())
    expected = torch.autograd.grad((reference(live, z, 1.0, None) * target).sum(), parameters, allow_unused=True)
    for name, grad, wanted in zip(names, grads, expected, strict=True):
        if name.endswith("noise_strength"):
            continue  # has no effect without noise
        assert torch.allclose(grad, wanted, rtol=1e-6, atol=1e-8 * float(wanted.abs().max())), name


def test_random_noise_is_reproducible_and_explicit_maps_repeat_it(small):
    ws = small.mapping(torch.randn(2, 16))
    one = small.synthesis(ws, "random", torch.Generator().manual_seed(5))
    maps = small.synthesis.sample_noise(2, torch.Generator().manual_seed(5))
    assert torch.equal(one, small.synthesis(ws, maps))
    assert not torch.equal(one, small.synthesis(ws, "random", torch.Generator().manual_seed(6)))
    assert not torch.equal(one, small.synthesis(ws, "const"))


def test_styles_render_the_same_images_and_can_be_edited(small):
    ws = small.mapping(torch.randn(2, 16))
    styles = small.synthesis.styles(ws)
    assert torch.equal(small.synthesis.render(styles), small.synthesis(ws))
    styles["b16.conv1"] = styles["b16.conv1"] * 1.5
    assert not torch.equal(small.synthesis.render(styles), small.synthesis(ws))


def test_w_is_the_same_code_for_every_layer(small):
    w = torch.randn(2, 20)
    assert torch.equal(small.synthesis(w), small.synthesis(w[:, None].repeat(1, 8, 1)))


def test_each_code_drives_its_layers_and_no_other(small):
    """Changing a code changes the styles of exactly the layers that latent_of assigns to it, in NVIDIA's order."""
    conv = {"b4.conv1": 0, "b8.conv0": 1, "b8.conv1": 2, "b16.conv0": 3, "b16.conv1": 4, "b32.conv0": 5, "b32.conv1": 6}
    assert small.synthesis.latent_of == conv | {"b4.torgb": 1, "b8.torgb": 3, "b16.torgb": 5, "b32.torgb": 7}
    ws = small.mapping(torch.randn(1, 16))
    base = small.synthesis.styles(ws)
    for index in range(small.num_ws):
        nudged = ws.clone()
        nudged[:, index] += 1
        changed = {name for name, s in small.synthesis.styles(nudged).items() if not torch.equal(s, base[name])}
        assert changed == {name for name, i in small.synthesis.latent_of.items() if i == index}


def test_truncation_cutoff_leaves_the_later_codes_alone(small):
    z = torch.randn(2, 16)
    full, cut = small.mapping(z), small.mapping(z, 0.5, truncation_cutoff=3)
    assert torch.equal(cut[:, 3:], full[:, 3:])
    assert torch.allclose(cut[:, :3], small.mapping(z, 0.5)[:, :3])
    assert torch.allclose(small.mapping(z, 0.0), small.mapping.w_avg.expand(2, 8, -1))


def test_estimated_w_avg_is_the_mean_of_w():
    generator = alive(CONFIGS["32px"])
    estimate = generator.estimate_w_avg(20_000, seed=1)
    other = generator.mapping(torch.randn(20_000, 16, generator=torch.Generator().manual_seed(9)))[:, 0].mean(0)
    assert (estimate - other).abs().max() < 0.05
    assert torch.equal(estimate, generator.estimate_w_avg(20_000, seed=1))


def test_fingerprint_tells_weights_apart(small):
    before = small.fingerprint()
    assert before == alive(small.config).fingerprint()
    small.synthesis.b8.conv0.weight[0, 0, 0, 0] += 1e-3
    assert small.fingerprint() != before


def test_standard_channels_are_the_published_plans():
    assert standard_channels(1024) == (512, 512, 512, 512, 512, 256, 128, 64, 32)
    assert standard_channels(256, 16384) == (512, 512, 512, 512, 256, 128, 64)
    parameters = Generator(GeneratorConfig(1024, standard_channels(1024))).parameters()
    assert round(sum(p.numel() for p in parameters) / 1e6, 2) == 30.37  # the size of FFHQ's config-f


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resolution": 48}, "power of two"),
        ({"resolution": 2048}, r"4\.\.1024"),
        ({"channels": (8, 8)}, "3 blocks"),
        ({"channels": (8, 0, 8)}, "at least 1"),
        ({"demod_eps": "none"}, "'scaled' or 'raw'"),
        ({"conv_clamp": -1.0}, r"must be in 0\.\.1e\+38"),
    ],
)
def test_impossible_configs_are_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        GeneratorConfig(**{"resolution": 16, "channels": (8, 8, 8)} | changes)


def test_wrong_inputs_are_refused(small):
    with pytest.raises(UsageError, match=r"takes \[N, 8, 20\]"):
        small.synthesis(torch.zeros(1, 7, 20))
    with pytest.raises(UsageError, match="ws has shape"):
        small.synthesis(torch.zeros(20))
    with pytest.raises(UsageError, match="const, random, none"):
        small.synthesis(torch.zeros(1, 8, 20), noise="sometimes")
    with pytest.raises(UsageError, match=r"no layer 'b64.conv0'"):
        small.synthesis.layer("b64.conv0")
