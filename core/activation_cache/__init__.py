"""What frozen stages give, computed once: by which key it is known, how it is computed, and where it lies."""
