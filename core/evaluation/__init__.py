"""What predictions are worth: intervals, comparisons, leakage, plots."""
