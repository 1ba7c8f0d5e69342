"""An adapter with its backbone for other programs."""
