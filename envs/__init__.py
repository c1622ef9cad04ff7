"""What is generated: sequences as Gymnasium environments, with a backspace.

Importing this package registers `rubout/Sequence-v0`; naming the package in the id imports it,
in whatever process that happens:

    env = gymnasium.make("envs:rubout/Sequence-v0", num_tokens=26, max_length=20)
    envs = gymnasium.make_vec("envs:rubout/Sequence-v0", num_envs=4, autoreset_mode="SameStep")

The first is `SequenceEnv`, one sequence in NumPy: the reference. The second is `SequenceVectorEnv`,
many sequences in PyTorch on any device: the one to generate with.
"""

import gymnasium

from envs.sequence_env import SequenceEnv
from envs.vector_env import SequenceVectorEnv

__all__ = ["SequenceEnv", "SequenceVectorEnv"]

ENV_ID = "rubout/Sequence-v0"

if ENV_ID not in gymnasium.registry:  # a second import of the package must not warn
    gymnasium.register(
        id=ENV_ID,
        entry_point="envs.sequence_env:SequenceEnv",
        vector_entry_point="envs.vector_env:SequenceVectorEnv",
    )
