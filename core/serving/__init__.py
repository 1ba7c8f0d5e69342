"""A run as a page on this machine: what it says of a file that somebody drops there."""
