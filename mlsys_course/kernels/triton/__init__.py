"""The same kernels for a card, in Triton, which is no part of the course's installation: ``pip install triton``.

Without a card they run in Triton's interpreter, on CPU tensors, where TRITON_INTERPRET=1 is set before the import.
"""

from .attend import attend
from .matmul import matmul
from .softmax import softmax

__all__ = ["attend", "matmul", "softmax"]
