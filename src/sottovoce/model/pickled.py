"""What torch.save wrote, read without torch: an archive with a pickle, or the stream of before torch 1.6.

Nothing of a pickle runs: of its opcodes those that build plain values, of its globals those that make up tensors.
Layout, from torch 2.13 serialization.py:
    archive  zip: NAME/data.pkl, NAME/data/KEY with a storage's numbers, NAME/byteorder; as a rule not compressed
    stream   pickles of the magic number, 1001, facts of the machine, the content, the keys of its storages;
             per key i64 count, numbers
    tensor   _rebuild_tensor_v2(storage, offset, sides, strides, ...); storage: the persistent id
             ("storage", class, key, device, count), in a stream also (key, offset, count) of a part or None
"""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from sottovoce.model.stored import BFLOAT16, BYTES, FLOAT16, FLOAT32, FLOAT64, MAX_SIDE, Kind, Mapped, Numbers, damaged

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of a stream
KINDS = {
    "FloatStorage": FLOAT32,
    "HalfStorage": FLOAT16,
    "BFloat16Storage": BFLOAT16,
    "DoubleStorage": FLOAT64,
    **{
        f"{theirs}Storage": Kind(numpys, np.dtype(numpys))
        for theirs, numpys in {
            "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "uint8",
        }.items()
    },
}  # fmt: skip
MAX_NUMBERS = 1 << 40  # of a tensor; beyond it comes from a damaged header

OPCODES = (
    *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BINPERSID", "NONE", "NEWFALSE", "NEWTRUE", "BININT", "BININT1"),
    *("BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2"),
    *("TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "BINGET"),
    *("LONG_BINGET", "BINPUT", "LONG_BINPUT"),
)
# what may stand beside the weights, and is not read
IGNORED = {
    *("torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.serialization._get_layout"),
    *("collections.Counter", "_codecs.encode"),
    *(f"{builtins}.{name}" for builtins in ("builtins", "__builtin__") for name in ("set", "complex", "bytearray")),
    *(f"torch.{name}" for name in ("float16", "float32", "float64", "bfloat16", "bool", "uint8")),
    *(f"torch.int{bits}" for bits in (8, 16, 32, 64)),
}

# what bytes that are none of torch's lead to, here and in zipfile
BROKEN = (
    *(
        OSError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        RuntimeError,
        ArithmeticError,
    ),
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError),
)


@dataclass(slots=True)
class Storage:
    """Numbers that tensors are cut from. read: all of them, flat; a stream tells only at its end where they are."""

    kind: Kind
    n: int
    read: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """A tensor that is open but not yet read."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> Numbers:
        """Its numbers, whole ones in float32."""
        assert self.storage.read is not None, "a storage's place is known once the file is open"
        flat, kind = self.storage.read(), self.storage.kind
        n_bytes = [stride * kind.dtype.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, n_bytes)
        is_whole = kind.dtype.kind != "f" and not kind.bfloat16
        return Numbers(view.astype(np.float32) if is_whole else view, kind.bfloat16)


def read_pickled(path: Path) -> tuple[Any, Mapped]:
    """(what torch.save wrote, with a `Saved` for every tensor; the file that they are views of).

    Raises ModelError if the file cannot be read, or holds other things than tensors and plain values.
    """
    try:
        return _archive(path) if zipfile.is_zipfile(path) else _stream(path)
    except BROKEN as e:
        raise _broken(path, e) from e


def lazily(path: Path, state: Any) -> dict[str, Callable[[], Numbers]]:
    """Readers of a state dictionary. Raises ModelError if it is none."""
    if not isinstance(state, dict) or not all(isinstance(t, Saved) and isinstance(n, str) for n, t in state.items()):
        raise damaged(path, "its state dictionary holds other things than tensors", "tensors by name")
    return {name: tensor.read for name, tensor in state.items()}


def _broken(path: Path, e: Exception) -> Exception:
    reason = str(e).split("\n", 1)[0] or type(e).__name__
    return damaged(path, f"it cannot be read ({reason})", "a checkpoint written by torch.save")


def _archive(path: Path) -> tuple[Any, Mapped]:
    file = Mapped(path)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if (pickled := next((name for name in entries if name.endswith("/data.pkl")), None)) is None:
            raise ValueError("an archive without data.pkl")
        root = pickled.removesuffix("data.pkl")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in entries else b"little"

    def read(name: str, n: int, kind: Kind) -> Callable[[], np.ndarray]:
        entry = entries[root + name]
        if entry.file_size < n * kind.dtype.itemsize:
            raise ValueError(f"{name} has {entry.file_size} bytes, {n} numbers of {kind.name} were expected")
        if entry.compress_type != zipfile.ZIP_STORED:
            return partial(_inflated, path, entry.filename, n, kind)
        file.offset = entry.header_offset  # of the entry's own header, whose names may be longer than the directory's
        file.skip(26, name)
        file.skip(file.take("H", name) + file.take("H", name), name)
        return partial(file.tensor, file.skip(entry.file_size, name), (n,), kind)

    def storage(kind: Kind, key: str, n: int, _: Any = None) -> Storage:
        flat = read(f"data/{key}", n, kind)
        return Storage(kind, n, (lambda: flat().byteswap()) if order == b"big" else flat)

    content = read("data.pkl", entries[pickled].file_size, BYTES)()
    return _Unpickler(BytesIO(content.tobytes()), storage).load(), file


def _inflated(path: Path, name: str, n: int, kind: Kind) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            return np.frombuffer(bytearray(archive.read(name)), kind.dtype, n)
    except BROKEN as e:
        raise _broken(path, e) from e


def _stream(path: Path) -> tuple[Any, Mapped]:
    storages: dict[str, Storage] = {}

    def storage(kind: Kind, key: str, n: int, part: tuple[str, int, int] | None = None) -> Storage:
        whole = storages.setdefault(key, Storage(kind, n))
        if part is None:
            return whole
        _, offset, n = part
        if not 0 <= offset <= offset + n <= whole.n:
            raise ValueError(f"a part from {offset} of {n} numbers was given, of {whole.n}")

        def cut() -> np.ndarray:
            assert whole.read is not None, "a storage's place is known once the file is open"
            return whole.read()[offset : offset + n]

        return Storage(kind, n, cut)

    with path.open("rb") as f:
        if (_Unpickler(f, storage).load(), _Unpickler(f, storage).load()) != (MAGIC, PROTOCOL):
            raise pickle.UnpicklingError("it begins with no number of torch's")
        _Unpickler(f, storage).load()
        content, keys = _Unpickler(f, storage).load(), _Unpickler(f, storage).load()
        file = Mapped(path)
        file.offset = f.tell()
    for key in keys:
        n, kind = file.take("q", "a storage's size"), storages[key].kind
        if n < storages[key].n:
            raise ValueError(f"{n} numbers were given, {storages[key].n} were expected")
        storages[key].read = partial(file.tensor, file.skip(n * kind.dtype.itemsize, "a storage"), (n,), kind)
    if any(storage.read is None for storage in storages.values()):
        raise ValueError("a storage is missing")
    return content, file


def _rebuild(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Saved:
    n: int = prod(shape)
    end = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if (
        not isinstance(storage, Storage)
        or offset < 0
        or not all(0 <= side <= MAX_SIDE for side in shape)
        or n > MAX_NUMBERS
        or any(stride < 0 for stride in strides)
        or (n and end >= storage.n)
    ):
        raise ValueError(f"a tensor of shape {list(shape)} lies outside its numbers")
    return Saved(storage, offset, tuple(shape), tuple(strides))


def _same(value: Any, *_: Any) -> Any:
    return value


def _of_type(rebuild: Callable[..., Any], _: Any, arguments: tuple[Any, ...], __: Any) -> Any:
    return rebuild(*arguments)


def _nothing(*_: Any) -> None:
    return None


GLOBALS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_parameter": _same,
    "torch._utils._rebuild_parameter_with_state": _same,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    **{f"torch.{name}": kind for name, kind in KINDS.items()},
    **dict.fromkeys(IGNORED, _nothing),
}


class _Unpickler(pickle._Unpickler):
    """storage: what a persistent id stands for.

    In Python, since the one in C takes as much memory as a damaged byte says.
    """

    def __init__(self, file: IO[bytes], storage: Callable[..., Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (found := GLOBALS.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")
        return found

    def persistent_load(self, pid: Any) -> Storage:
        kind, arguments = pid[1], (*pid[2:3], *pid[4:])
        if pid[0] != "storage" or not isinstance(kind, Kind):
            raise pickle.UnpicklingError(f"{pid!r} is no storage")
        return self._storage(kind, *arguments)

    def _build(self: Any) -> None:
        """Leave out the attributes of a state dictionary (versions of modules)."""
        self.stack.pop()
        if not isinstance(self.stack[-1], OrderedDict):
            raise pickle.UnpicklingError(f"attributes of {self.stack[-1]!r}")

    dispatch: ClassVar = {
        **{getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in OPCODES},
        pickle.BUILD[0]: _build,
    }
