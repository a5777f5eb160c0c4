"""1,797 handwritten digits, 8 x 8 pixels each. CC BY 4.0; from scikit-learn, whose own code is BSD.

Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository; its test
half, written by 13 people.
"""

import gzip

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .installed import checked, installed

DIGITS = "09f66e6debdee2cd"


def digits() -> tuple[Float[Tensor, "N 64"], Int[Tensor, " N"]]:
    """Pixels from 0 (paper) to 1 (ink), row after row, as float32, and the digit that each image shows.

    Read without importing scikit-learn. Raises DataMissing, an ImportError, where it is not installed.
    """
    lines = gzip.decompress(checked(installed("sklearn", "datasets/data/digits.csv.gz"), DIGITS)).decode().split()
    table = torch.tensor([[float(entry) for entry in line.split(",")] for line in lines])  # (N, 65)
    return table[:, :64] / 16, table[:, 64].long()
