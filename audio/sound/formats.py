"""Which sound files can be read, by their ending."""

SOUNDFILE_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif")
"""File endings that soundfile decodes by itself."""

FFMPEG_SUFFIXES = (".m4a", ".mp4", ".aac", ".m4b", ".3gp", ".wma", ".webm")
"""File endings that need FFmpeg and torchcodec."""

SUFFIXES = (*SOUNDFILE_SUFFIXES, *FFMPEG_SUFFIXES)
"""What a folder per class is searched for: a file that cannot be read here is named, not passed over."""
