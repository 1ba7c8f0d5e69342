"""Sound files as waveforms: whole, complete, at the rate that is asked for, or refused by name."""
