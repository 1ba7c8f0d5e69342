"""The verbs that both command lines share, their options, and the console."""
