"""Pretrained image networks as stages, by the source that they come from, and their weights."""
