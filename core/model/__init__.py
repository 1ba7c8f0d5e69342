"""Backbones, heads, what a strategy means for them, and what is kept of them."""
