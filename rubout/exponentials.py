"""Exponentials at the speed of the processor.

On a CPU torch's `exp` of float32 is MKL's, which on processors of other makers than Intel takes
four times as long as its `exp2`; even its softmax, which does without MKL, takes twice as long. So
logits are multiplied by log2(e), where that costs nothing, and exponentials are taken in base two.
On other devices a softmax is one pass over memory, and nothing is faster.
"""

from __future__ import annotations

import math

from torch import Tensor

LOG2_E = 1 / math.log(2)


def has_fast_exp2(values: Tensor) -> bool:
    """Whether exponentials of such values are best taken in base two."""
    return values.device.type == "cpu"
