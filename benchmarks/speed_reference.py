"""Time the authors' implementation, which is imported from a checkout, beside ours."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from reference import LAZY, import_model, optimizer
from speed_timed import CLIPS, WIDTH, Timed

from nada import Generator
from nada.clip.models import ClipEnsemble

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


class Reference(Timed):
    """One iteration of the authors' training loop."""

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
        for loss in self.net.clip_loss_models.values():  # computed from the texts in its first iteration
            loss.target_direction = F.normalize(torch.randn(1, WIDTH, device=self.device), dim=1)
        self.optimizer = optimizer(self.net, 0.002 * LAZY)
        self.net.train()

    def work(self) -> None:
        z = torch.randn(self.case.batch, WIDTH, device=self.device)
        _, loss = self.net([z])
        self.net.zero_grad()
        loss.backward()
        self.optimizer.step()
