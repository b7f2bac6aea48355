"""A server that stays behind: started by the first command that wants it, reused by the next ones, gone when idle.

    <runtime folder>/sottovoce/   mode 0700, the user's own: $XDG_RUNTIME_DIR, else the folder for temporary files
        <settings>.sock           a Unix socket, which only who may enter the folder can reach
        <settings>.json           Resident: who listens there
        lock                      held while one is started or ended, so that of commands at the same time one starts it

The starter makes the socket and hands it over: who comes while the server still starts is queued there, not refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sottovoce import __version__
from sottovoce.cli.remote import Address
from sottovoce.config import Config
from sottovoce.errors import ConfigError, OutputError, ServerError

IDLE_S = 900.0
NOT_OF_A_SERVER = ("model", "log_level", "idle_s", "preload", "pins")  # settings that need no other server
LONGEST_SOCKET = 100  # bytes of its path: systems allow 104 to 108
LOG_BYTES = 1_000_000  # after which a log begins anew
END_S = 15.0  # until a server that was asked to end has ended
START = "import sys; from sottovoce.cli.stay import main; main()"


@dataclass(frozen=True, slots=True)
class Resident:
    """One that runs. version: of the code that it runs. since_s: 1970. log: a file."""

    pid: int
    version: str
    settings: str
    since_s: float
    socket: str
    log: str

    @property
    def answers(self) -> bool:
        """Is somebody listening? A socket without a process refuses."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(1.0)
            try:
                s.connect(self.socket)
            except TimeoutError:  # its queue is full: it is there
                return True
            except OSError:
                return False
        return True


def reach(config: Config, idle_s: float) -> Address:
    """Where a server of these settings and this code listens; it is started if there is none, or another version."""
    folder = runtime_folder()
    settings = settings_of(config)
    mine = _read(folder / f"{settings}.json")
    if mine is None or mine.version != version() or not mine.answers:
        with _locked(folder):
            mine = _read(folder / f"{settings}.json")  # another command may have been faster
            if mine is not None and mine.answers and mine.version != version():
                _ask_to_end(mine)
                mine = None
            if mine is None or not mine.answers:
                mine = _start(folder, settings, config, idle_s)
    return Address("localhost", unix=mine.socket)


def residents() -> list[Resident]:
    """All that run."""
    found = (_read(path) for path in sorted(runtime_folder().glob("*.json")))
    return [one for one in found if one is not None and one.answers]


def end(one: Resident) -> bool:
    """Ask one to end, and wait until it has. False: it still answers requests."""
    with _locked(runtime_folder()):
        _ask_to_end(one)
    until_s = time.monotonic() + END_S
    while time.monotonic() < until_s:
        now = _read(Path(one.socket).with_suffix(".json"))
        if now is None or now.pid != one.pid or not _is_there(one.pid):
            return True
        time.sleep(0.02)
    return False


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def forget(socket_path: str) -> None:
    """Take a socket of this process away, unless another server has taken its place. For the one who ends."""
    path = Path(socket_path)
    with _locked(path.parent):
        mine = _read(path.with_suffix(".json"))
        if mine is not None and mine.pid == os.getpid():
            for gone in (path, path.with_suffix(".json")):
                gone.unlink(missing_ok=True)


def runtime_folder() -> Path:
    """The folder of sockets, which nobody else may enter. Raises OutputError, ConfigError."""
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("--resident was given, which needs Unix sockets; run sottovoce serve, and pass --server")
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    places = [Path(given) / "sottovoce"] if os.path.isabs(given) and os.path.isdir(given) else []
    places.append(Path(tempfile.gettempdir()) / f"sottovoce-{os.getuid()}")
    for folder in places:
        if len(os.fsencode(folder)) + 24 <= LONGEST_SOCKET:
            break
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as e:
        raise OutputError(f"{folder}: cannot be made ({e.strerror}); set XDG_RUNTIME_DIR to a folder of yours") from e
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OutputError(f"{folder}: others may enter it, or it is not yours; remove it, or set XDG_RUNTIME_DIR")
    return folder


def settings_of(config: Config) -> str:
    """A name for the settings that a server is started with."""
    told = {name: value for name, value in asdict(_placed(config)).items() if name not in NOT_OF_A_SERVER}
    more = {name: os.environ.get(name) for name in ("SOTTOVOCE_KERNELS", "XDG_CACHE_HOME", "HF_HOME")}
    return hashlib.sha256(json.dumps([told, more], sort_keys=True).encode()).hexdigest()[:16]


def version() -> str:
    """Of this code: its release, and when a file of it was last changed."""
    newest = 0
    folders = [str(Path(__file__).parents[1])]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    if entry.name != "__pycache__":
                        folders.append(entry.path)
                elif entry.name.endswith((".py", ".so")):
                    newest = max(newest, entry.stat().st_mtime_ns)
    return f"{__version__}+{newest:x}"


def _placed(config: Config) -> Config:
    """Paths as another process means them, which may be in another folder."""
    return replace(config, model_dir=os.path.abspath(config.model_dir)) if config.model_dir else config


def _start(folder: Path, settings: str, config: Config, idle_s: float) -> Resident:
    path = folder / f"{settings}.sock"
    log_path = _log_file()
    path.unlink(missing_ok=True)
    told = {"config": asdict(_placed(config)), "idle_s": idle_s, "socket": str(path)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s, open(log_path, "ab") as log:
        s.bind(str(path))
        os.chmod(path, 0o600)
        s.listen(128)
        child = subprocess.Popen(
            [sys.executable, "-c", START, str(s.fileno())], pass_fds=[s.fileno()], stdin=subprocess.PIPE,
            stdout=log, stderr=log, cwd="/", start_new_session=True,
        )  # fmt: skip
        assert child.stdin is not None
        try:
            with child.stdin as pipe:
                pipe.write(json.dumps(told).encode())
        except BrokenPipeError as e:
            raise ServerError(f"the resident server did not start; its log: {log_path}") from e
    mine = Resident(child.pid, version(), settings, time.time(), str(path), str(log_path))
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(mine)))
    os.replace(draft, path.with_suffix(".json"))
    child.returncode = 0  # it outlives us: nobody waits for it
    return mine


def _log_file() -> Path:
    """Its own; not in the folder of sockets, which may be in memory. Raises OutputError."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "sottovoce"
    path = folder / "resident.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        if path.exists() and path.stat().st_size > LOG_BYTES:
            flags |= os.O_TRUNC
        os.close(os.open(path, flags, 0o600))
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror}); leave --resident out") from e
    return path


def _ask_to_end(one: Resident) -> None:
    """NOTE: a process id is looked up and used only while its process listens: else it may be another's by now."""
    if one.answers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, 15)


def _read(path: Path) -> Resident | None:
    try:
        return Resident(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    import fcntl  # Unix has it, and only there is this file of use

    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
