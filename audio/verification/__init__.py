"""Who speaks: embeddings, enrolled speakers, trials, and metrics of scores."""
