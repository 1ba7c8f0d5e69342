"""Corpora of speech in the layouts that people publish, as tables."""
