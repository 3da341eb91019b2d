"""Properties of the processor on which the choice between computations of the same result depends."""

from __future__ import annotations

import torch

WITHOUT_AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX2"  # False on ARM, which was not measured
