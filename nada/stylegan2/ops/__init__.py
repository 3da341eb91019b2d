"""The operations that StyleGAN2 is made of, in plain PyTorch: they run on any device, and are differentiable once."""

from .resample import FILTER_TAPS, resample_filter, upsample
from .styled_conv import GAIN, SLOPE, demodulation, modulated_conv1x1, styled_conv2d

__all__ = [
    "FILTER_TAPS",
    "GAIN",
    "SLOPE",
    "demodulation",
    "modulated_conv1x1",
    "resample_filter",
    "styled_conv2d",
    "upsample",
]
