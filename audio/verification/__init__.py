"""Who speaks: embeddings, enrolled speakers, trials, and what scores are worth."""
