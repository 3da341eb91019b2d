"""The operations that StyleGAN2 is made of, in plain PyTorch: they run on any device and differentiate as usual."""

from .activation import noise_bias_lrelu
from .modulated_conv import demodulation, modulated_conv1x1, modulated_conv2d
from .resample import FILTER_TAPS, blur, resample_filter, upsample

__all__ = [
    "FILTER_TAPS",
    "blur",
    "demodulation",
    "modulated_conv1x1",
    "modulated_conv2d",
    "noise_bias_lrelu",
    "resample_filter",
    "upsample",
]
