"""From a plan to what was learnt: the loop, the optimiser, checkpoints, and what is solved."""
