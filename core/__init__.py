"""Freeze, fine-tune, evaluate: what both domains stand on. Names are loaded when first used."""
