"""Train sequence models to generate: contracts, runtime, evaluation and command line."""

__version__ = "0.1.0"
