"""The error tree. Every message says what was given, what was expected and what to do; no error knows its audience."""


class SottovoceError(Exception):
    """Base of every error that a user can cause or mend. Anything else that escapes is a bug of ours."""


class OptionError(SottovoceError, ValueError):
    """An option of a call has a value that cannot be honoured."""


class ConfigError(SottovoceError, ValueError):
    """A setting of the process (flag, SOTTOVOCE_* variable, Config field) has a value that cannot be honoured."""


class AudioError(SottovoceError):
    """A recording cannot be opened, or holds no sound."""


class ModelError(SottovoceError):
    """A model is unknown, its files are damaged, or its form is not understood."""


class DownloadError(ModelError):
    """No source could serve a model's files; the message names each source that was tried, and why it failed."""


class OutputError(SottovoceError):
    """A result cannot be written."""


class EngineError(SottovoceError):
    """The engine cannot decode a window: device failure, memory, or shut down while the window waited."""


class ServerError(SottovoceError):
    """A server cannot be reached, does not let us in, or does not answer what it was asked."""


class BusyError(EngineError):
    """There is no room for a model now, because those that are awake are in use; later there may be."""
