"""Learning from speech without transcripts."""
