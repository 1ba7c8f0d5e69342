"""Which sound files can be read, by their ending."""

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif")
"""File endings that soundfile decodes by itself; a folder per class is searched for these."""

NEEDS_FFMPEG = (".m4a", ".mp4", ".aac", ".m4b", ".3gp", ".wma", ".webm")
