"""One thread: the machine's cores are few, and tests are small."""

import torch

torch.set_num_threads(1)
