"""Which openai-whisper this surface is held to."""

__version__ = "20250625"
