"""Adapters applied to examples."""
