"""Predictions evaluated: metrics with intervals, comparisons, leakage, plots."""
