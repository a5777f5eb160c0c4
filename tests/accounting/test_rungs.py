"""``rung_memory`` against live steps of the course's decoder and lab 10's parts."""

from dataclasses import replace

import pytest
import torch

from mlsys_course import memory
from mlsys_course.accounting import ModelConfig
from mlsys_course.accounting.ladder import Parts, rung_step
from mlsys_course.accounting.rungs import Rung, measured_step, rung_memory
from mlsys_course.transformer import Decoder

PARTS = Parts(Decoder, memory.accumulate, memory.MixedPrecisionStep, memory.chunked_cross_entropy, memory.checkpoint,
              memory.LoRALinear)  # fmt: skip
SHAPE = ModelConfig(2048, 64, 64, 4, 4, 4, 16, 192, fast=True)
ON_A_CARD = ModelConfig(32000, 512, 512, 8, 8, 8, 64, 1408, fast=True)  # workspaces of libraries are small beside it
RUNGS = [Rung(), Rung(chunk=64), Rung(checkpoints=True), Rung(64, True), Rung(64, True, True),
         Rung(64, True, True, 4), Rung(64, True, True, 2, 4), Rung(64, False, False, 2)]  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("rung", RUNGS, ids=str)
def test_a_rungs_peak_is_as_predicted(rung, device):
    shape, time, within = (SHAPE, 64, 0.06) if device == "cpu" else (ON_A_CARD, 512, 0.08)
    rung = rung if device == "cpu" else replace(rung, chunk=rung.chunk * 16)
    inputs, targets = torch.randint(2048, (2, 8, time), device=device).unbind()
    step, lasting = rung_step(shape, rung, inputs.clone(), targets.clone(), PARTS)
    measured = measured_step(step, lasting, device)
    assert abs(rung_memory(shape, 8, time, rung, device).total / measured - 1) < within
