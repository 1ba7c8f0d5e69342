"""The report on a run: one HTML file that says what was asked, what of, and what it came to."""
