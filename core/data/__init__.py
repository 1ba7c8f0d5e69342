"""What to learn from: tables and folders, splits, and examples as tensors."""
