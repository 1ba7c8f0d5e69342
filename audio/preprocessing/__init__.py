"""From a waveform to what a network takes: the input contract, silence cut off, random changes."""
