"""Networks of the wav2vec 2.0 family as stages, by the source that they come from, and their weights."""
