"""From a scan to the tensor that a network takes: intensity, size, channels, random changes."""
