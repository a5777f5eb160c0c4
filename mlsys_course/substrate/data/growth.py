"""The lecture's tables: how models, cards and wires grew. Each row has its source; figures are makers' or authors'.

Cards: the SXM part, decimal GB, dense rates. The notes' "B300 (72 PFLOPS)" is a box of eight cards with structured
sparsity; one card without it has an eighth of a half, 4.5 PFLOPS of FP8 and half as much of FP16.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A model by the year of its paper or report. ``parameters`` are all of them, also where a token uses a part."""

    name: str
    year: int
    parameters: float
    source: str


@dataclass(frozen=True)
class Card:
    """A GPU: memory in GB, FP16 in TFLOPS, and NVLink in GB/s, both directions added as makers do."""

    name: str
    year: int
    memory: int
    memory_type: str
    tflops: float
    nvlink: int
    source: str


MODELS = (
    Model("Transformer (big)", 2017, 213e6, "Vaswani et al. 2017, table 3"),
    Model("GPT", 2018, 117e6, "Radford et al. 2018; the size as in Radford et al. 2019, table 2"),
    Model("BERT (large)", 2018, 340e6, "Devlin et al. 2018, section 3"),
    Model("GPT-2", 2019, 1.5e9, "Radford et al. 2019, section 3"),
    Model("Megatron-LM", 2019, 8.3e9, "Shoeybi et al. 2019, abstract"),
    Model("T5", 2019, 11e9, "Raffel et al. 2019, section 3.7"),
    Model("Turing-NLG", 2020, 17.2e9, "Microsoft Research, February 2020"),
    Model("GPT-3", 2020, 175e9, "Brown et al. 2020, table 2.1"),
    Model("MT-NLG", 2021, 530e9, "Smith et al. 2022, abstract"),
    Model("PaLM", 2022, 540e9, "Chowdhery et al. 2022, abstract"),
    Model("Llama 2", 2023, 70e9, "Touvron et al. 2023, abstract"),
    Model("Llama 3.1", 2024, 405e9, "Grattafiori et al. 2024, abstract"),
    Model("DeepSeek-V3", 2024, 671e9, "DeepSeek-AI 2024, abstract: 37 billion of them for each token"),
)
CARDS = (
    Card("P100", 2016, 16, "HBM2", 21.2, 160, "NVIDIA, Tesla P100 whitepaper"),
    Card("V100", 2017, 32, "HBM2", 125, 300, "NVIDIA, Tesla V100 datasheet"),
    Card("A100", 2020, 80, "HBM2E", 312, 600, "NVIDIA, A100 datasheet, 80 GB SXM"),
    Card("A800", 2022, 80, "HBM2E", 312, 400, "NVIDIA, A800 datasheet"),
    Card("H100", 2022, 80, "HBM3", 989.4, 900, "NVIDIA, H100 datasheet, SXM"),
    Card("H800", 2023, 80, "HBM3", 989.4, 400, "NVIDIA, H800 datasheet, SXM"),
    Card("H200", 2024, 141, "HBM3E", 989.4, 900, "NVIDIA, H200 datasheet, SXM"),
    Card("B200", 2025, 180, "HBM3E", 2250, 1800, "NVIDIA, DGX B200 datasheet, an eighth"),
)
