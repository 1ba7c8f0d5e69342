"""What is said: transcripts from frames."""
