"""Speech: clips, and the wav2vec 2.0 family of backbones."""
