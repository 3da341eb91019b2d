"""StyleGAN2's operations, which run on any device and are differentiable once."""

from .passes import SLOPE
from .resample import FILTER_TAPS, resample_filter, upsample
from .styled_conv import GAIN, demodulation, modulated_conv1x1, styled_conv2d

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
