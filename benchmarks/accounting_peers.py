"""What other tools say of the same training step, in bytes; NaN where one is not there or does not know the case."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from mlsys_course.accounting import ModelConfig, parameter_table
from mlsys_course.accounting.measured import example, live_decoder, loss_of, optimizer_of
from mlsys_course.accounting.memory import Recipe

Peer = Callable[[ModelConfig, int, int, Recipe], float]


def mem_tracker(config: ModelConfig, batch: int, time: int, recipe: Recipe) -> float:
    """PyTorch's MemTracker: the same two steps on tensors without memory."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    with FakeTensorMode(allow_non_fake_inputs=True):
        model, inputs = live_decoder(config, recipe, time), example(config, batch, time, recipe.device)
        optimizer, tracker = optimizer_of(model, recipe), MemTracker()
        tracker.track_external(model, optimizer, *inputs)
        with tracker:
            for step in range(2):
                optimizer.zero_grad(set_to_none=True)
                loss_of(model, *inputs, recipe).backward()
                optimizer.step()
                if step == 0:
                    tracker.reset_mod_stats()
        snapshot = tracker.get_tracker_snapshot("peak")
    return max(float(sizes["Total"]) for sizes in snapshot.values())


def accelerate(config: ModelConfig, batch: int, time: int, recipe: Recipe) -> float:
    """accelerate's estimator: four times the weights for training with Adam."""
    from accelerate.utils import calculate_maximum_sizes

    from mlsys_course.transformer import Decoder

    with torch.device("meta"):
        model = Decoder(replace(config, fast=True)).to({2: torch.bfloat16, 4: torch.float32}[recipe.weight_width])
    return 4.0 * calculate_maximum_sizes(model)[0]


def deepspeed(config: ModelConfig, batch: int, time: int, recipe: Recipe) -> float:
    """DeepSpeed's estimator of stage 2 on one card without offload, its buffer factor of 1.5 included."""
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    _, card = estimate_zero2_model_states_mem_needs(
        parameter_table(config).total, num_gpus_per_node=1, num_nodes=1, cpu_offload=False, additional_buffer_factor=1.5
    )
    return float(card)


def llm_analysis(config: ModelConfig, batch: int, time: int, recipe: Recipe) -> float:
    """llm-analysis, which knows a 16-bit model with float32 states and a GPT's layer."""
    from llm_analysis import analysis
    from llm_analysis.config import ModelConfig as TheirConfig
    from llm_analysis.config import get_dtype_config_by_name, get_gpu_config_by_name

    theirs = TheirConfig(
        name="case", num_layers=config.n_layers, n_head=config.n_heads, hidden_dim=config.d_model,
        vocab_size=config.padded_vocabulary, max_seq_len=config.context, num_key_value_heads=config.n_kv_heads,
        ffn_embed_dim=config.d_ffn, expansion_ratio=config.d_ffn / config.d_model,
    )  # fmt: skip
    tool = analysis.LLMAnalysis(theirs, get_gpu_config_by_name("a100-sxm-80gb"), get_dtype_config_by_name("w16a16e16"))
    tool.gpu_config.mem_per_GPU_in_GB = 1000  # it refuses what does not fit
    levels = analysis.ActivationRecomputation
    level = {"none": levels.NONE, "selective": levels.SELECTIVE, "full": levels.FULL}[recipe.checkpointing]
    found = tool.training(
        batch_size_per_gpu=batch, gradient_accumulation_steps=1, seq_len=time, activation_recomputation=level,
        flash_attn=recipe.attention == "fused", softmax_dropout=recipe.dropout, mlp_gated_linear_units=config.gated,
    )  # fmt: skip
    names = ("weight_memory_per_gpu", "optimizer_state_memory_per_gpu", "gradient_memory_per_gpu")
    return float(sum(found[name] for name in (*names, "activation_memory_per_gpu")))


def tried(peer: Peer) -> Peer:
    """The same, NaN where it cannot say; why goes to the screen."""

    def call(config: ModelConfig, batch: int, time: int, recipe: Recipe) -> float:
        try:
            return peer(config, batch, time, recipe)
        except Exception as problem:  # of tools that are not ours, any
            print(f"{peer.__name__}: {type(problem).__name__}: {str(problem)[:150]}")
            return math.nan

    return call


PEERS: dict[str, Peer] = {
    "MemTracker": tried(mem_tracker),
    "accelerate": tried(accelerate),
    "DeepSpeed": tried(deepspeed),
    "llm-analysis": tried(llm_analysis),
}
