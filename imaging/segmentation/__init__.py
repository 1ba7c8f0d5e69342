"""Masks: read beside their images, learnt in patches, predicted for whole scans, measured, drawn and written."""
