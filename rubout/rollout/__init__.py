"""From one policy to many actors: sampler (in-process), worker (an actor), fleet (many)."""
