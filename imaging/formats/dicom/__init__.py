"""DICOM: single images, series, segmentations. Nothing about a patient leaves these files."""
