"""The release of faster-whisper whose surface this is."""

__version__ = "1.2.1"
