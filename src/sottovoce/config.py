"""One frozen Config of the process: field = flag = SOTTOVOCE_* variable = help line. Knows no request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from sottovoce.errors import ConfigError

KVS = ("auto", "bfloat16", "int8")
ENV_PREFIX = "SOTTOVOCE_"
MOST = 1e9  # of any number: 30 years, an exabyte
COMPUTES = ("auto", "float32", "bfloat16", "float16", "int8")
# Read by engine/kernels.py and hatch_build.py, before there is a Config; and by commands that ask a server
ELSEWHERE = (
    *("SOTTOVOCE_KERNELS", "SOTTOVOCE_NO_KERNELS"),
    *("SOTTOVOCE_SERVER", "SOTTOVOCE_API_KEY", "SOTTOVOCE_RESIDENT"),
)
OF_SERVING = "SOTTOVOCE_SERVE_"  # read by serving.py


def setting(default: Any, help: str, shown: bool = True) -> Any:
    """A field with its help line. shown: its value may stand in a log."""
    return field(default=default, repr=shown, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Config:
    """Settings that hold for a whole process. Options of one recording are in `Options`.

    Raises ConfigError for a value that cannot be honoured, with the remedy in the message.
    """

    model: str = setting("base", "name of a model, a Hugging Face repository id, a folder or a file")
    revision: str | None = setting(None, "revision of the model's repository to pin: a branch, tag or commit")
    model_dir: str | None = setting(None, "folder for models; default: the user's cache (~/.cache/sottovoce)")
    sources: str = setting("folder,hub,openai,package", "where models may come from, in order, separated by commas")
    offline: bool = setting(False, "use only what is on this disk already")
    device: str = setting("auto", "auto, cpu, cuda, cuda:N, mps; cuda:N,M,... for several, windows to the idlest")
    compute: str = setting("auto", "precision: auto, float32, bfloat16, float16, or int8, on CPU kernels")
    kv: str = setting("auto", "keys and values of sound on kernels: auto, bfloat16, or int8 in half the memory")
    threads: int = setting(0, "CPU threads; 0: what OMP_NUM_THREADS says, else as many as this process may use")
    rows: int = setting(
        0, "rows decoded together: windows, times their beams; 0: 16 windows, on CUDA as many as its memory holds"
    )
    memory_share: float = setting(0.9, "share of a CUDA device's free memory that a model may take where rows is 0")
    encode_windows: int = setting(4, "windows encoded together in one step")
    memory_gb: float = setting(0.0, "budget of a shared pool: all models together, on each device; 0: no limit")
    idle_s: float = setting(0.0, "seconds until a shared pool unloads a model that nobody uses; 0: never")
    preload: str = setting("", "models that a shared pool loads when it opens, separated by commas")
    pins: str = setting("", "models that a shared pool does not unload once they are loaded, separated by commas")
    skip_warm_up: bool = setting(False, "do not try a model on a known clip before a shared pool serves it")
    log_level: str = setting("warning", "debug, info, warning or error")

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("model: an empty name was given, a model was expected; try base")
        _one_of("compute", self.compute, COMPUTES)
        _one_of("kv", self.kv, KVS)
        _one_of("log_level", self.log_level, ("debug", "info", "warning", "error"))
        for name in self.sources.split(","):
            _one_of("sources", name.strip(), ("folder", "hub", "openai", "package"))
        kind = self.device.split(":")[0]
        _one_of("device", kind, ("auto", "cpu", "cuda", "mps"))
        numbers = self.device.partition(":")[2].split(",")
        if ":" in self.device and not (kind == "cuda" and all(n.isdigit() for n in numbers)):
            raise ConfigError(f"device: {self.device!r} was given, cuda:N with a whole N was expected; try cuda:0")
        if len(set(numbers)) < len(numbers):
            raise ConfigError(f"device: {self.device!r} was given, each number once was expected; try cuda:0,1")
        for name, least in (("threads", 0), ("rows", 0), ("encode_windows", 1), ("memory_gb", 0), ("idle_s", 0)):
            value = getattr(self, name)
            if not least <= value <= MOST:  # nor what is no number
                remedy = "0, its default, sets no limit" if name in ("memory_gb", "idle_s") else "leave it out"
                raise ConfigError(f"{name}: {value} was given, {least} to {MOST:.0f} was expected; {remedy}")
        if not 0 < self.memory_share <= 1:
            raise ConfigError(
                f"memory_share: {self.memory_share} was given, more than 0 and at most 1 was expected; try 0.9"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str], below: Mapping[str, Any] | None = None, **given: Any) -> Config:
        """The settings of SOTTOVOCE_* variables, overridden by what is given and is not None.

        below: what holds where neither says anything.
        """
        variables = {
            name: text
            for name, text in environ.items()
            if name.startswith(ENV_PREFIX) and name not in ELSEWHERE and not name.startswith(OF_SERVING)
        }
        return cls(**settled(fields(cls), ENV_PREFIX, variables, below or {}, given))

    def with_(self, **given: Any) -> Config:
        """A copy with the fields that are given and are not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})


def settled(
    known: Sequence[Field[Any]],
    prefix: str,
    variables: Mapping[str, str],
    below: Mapping[str, Any],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Values by field: those given that are not None, else those of variables, else those below. Raises ConfigError."""
    by_name = {f.name: f for f in known}
    values = dict(below)
    for variable, text in variables.items():
        name = variable.removeprefix(prefix).lower()
        if name not in by_name:
            names = ", ".join(prefix + n.upper() for n in sorted(by_name))
            raise ConfigError(f"{variable} was set, but there is no such setting; known are {names}")
        values[name] = parse(variable, text, by_name[name].default)
    values.update({name: value for name, value in given.items() if value is not None})
    for name in sorted(values):
        if name not in by_name:
            raise ConfigError(f"{name}: there is no such setting; known are {', '.join(sorted(by_name))}")
    return values


def typed(table: Mapping[str, Any], known: Sequence[Field[Any]], remedy: str = "") -> dict[str, Any]:
    """A table of TOML as values of fields, each of the kind that its default is; lists of texts are joined by comma.

    Raises ConfigError for names that no field has, and for values of another kind.
    """
    by_name = {f.name: f.default for f in known}
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in by_name:
            raise ConfigError(f"{name}: there is no such setting; known are {', '.join(sorted(by_name))}{remedy}")
        match by_name[name], value:
            case (bool(), bool()) | (None | str(), str()):
                values[name] = value
            case (None | str(), list()) if all(isinstance(part, str) for part in value):
                values[name] = ",".join(value)
            case (int(), int()) if not isinstance(value, bool) and not isinstance(by_name[name], bool):
                values[name] = value
            case (float(), int() | float()) if not isinstance(value, bool):
                values[name] = float(value)
            case default, _:
                kinds = {bool: "true or false", int: "a whole number", float: "a number"}
                raise ConfigError(f"{name}: {value!r} was given, {kinds.get(type(default), 'a text')} was expected")
    return values


def parse(variable: str, text: str, default: Any) -> Any:
    """The value of a variable, of the kind that its default is. Raises ConfigError."""
    if isinstance(default, bool):
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if text.lower() not in words:
            raise ConfigError(f"{variable}: {text!r} was given, true or false was expected")
        return words[text.lower()]
    if isinstance(default, int | float):
        what = "a whole number" if isinstance(default, int) else "a number"
        try:
            return type(default)(text)
        except ValueError as e:
            raise ConfigError(f"{variable}: {text!r} was given, {what} was expected") from e
    return text or default


def _one_of(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ConfigError(
            f"{name}: {given!r} was given, one of {', '.join(known)} was expected; leave it out for the default"
        )
