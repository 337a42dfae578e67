"""Bundled checkpoints, one folder a model: weights as safetensors beside a JSON card."""
