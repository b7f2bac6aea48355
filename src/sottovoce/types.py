"""The values that cross doors. Plain and frozen: no tensor of a device, no handle, no behaviour beyond reading.

recording -> window (<= 30 s of sound to decode) -> sequence (a window being decoded) -> row (its line in the batch).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from math import nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16_000  # Hz; the only rate the checkpoints know
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # the ladder; openai/whisper transcribe.py:temperature
PREPEND_PUNCTUATIONS = "\"'“¿([{-"
APPEND_PUNCTUATIONS = "\"'.。,，!！?？:：”)]}、"


class Task(StrEnum):
    """What is written: the words as spoken, or their English translation."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class Manner(StrEnum):
    """Whose habits hold where the two Python references differ.

    A prefix: openai puts it before every window and leaves it out of the text; faster puts it before the first window,
    after <|0.00|>, and it belongs to the text. When no temperature passes the gates: openai keeps the last decoding,
    faster the most probable of those that are not repetitive. length_penalty: openai's alpha; faster divides a score by
    length ** length_penalty. Beams end a little later in CTranslate2 (Search.ends_in_beam).
    """

    OPENAI = "openai"
    FASTER = "faster"


class Strategy(StrEnum):
    """Windows follow one another, as in openai-whisper; or speech is cut in its pauses, and decoded together."""

    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"


class Clean(StrEnum):
    """What is done to the sound before it is heard; in this order, whatever the order they are given in.

    highpass takes away what is below speech: hum, rumble, wind. denoise takes away noise that does not change.
    loudness brings quiet and loud speakers to one level, moment by moment.
    """

    HIGHPASS = "highpass"
    DENOISE = "denoise"
    LOUDNESS = "loudness"


class Lane(IntEnum):
    """Who is served first when slots are short; a lower lane goes first."""

    LIVE = 0
    REQUEST = 1
    BATCH = 2


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Up to 30 s of one recording, in one of three forms; the engine turns any of them into keys and values.

    samples: (N,) float32, 16 kHz, with MARGIN samples of true context on either side of the frames;
        N = n_frames * 160 + 240. peak is the recording's largest log10 mel power: Whisper normalises by the recording.
    mel: (M, n_frames) float32, already normalised. features: (1500, C) float32, already encoded.
    n_frames: mel frames that hold sound (10 ms each), at most 3000; the rest of the window is zeros after the mel.
    """

    samples: np.ndarray | None = None
    mel: np.ndarray | None = None
    features: np.ndarray | None = None
    peak: float = 0.0
    n_frames: int = 3000


@dataclass(frozen=True, slots=True)
class Search:
    """How tokens are chosen. beam_size and best_of are rows of one sequence; they share its cross-attention slot.

    temperature 0 with beam_size 1: the most probable token. temperature 0 with beam_size > 1: beam search.
    temperature > 0: sampling, the best of best_of candidates.
    length_penalty None: mean log-probability; a number: Google NMT's alpha. length_exponent: a number replaces both by
    score / length ** length_exponent. ends_in_beam: a hypothesis ends only where its end is among the beam_size best
    continuations; else already where fewer than beam_size better ones go on.
    """

    temperature: float = 0.0
    beam_size: int = 1
    best_of: int = 1
    patience: float = 1.0
    length_penalty: float | None = None
    length_exponent: float | None = None
    ends_in_beam: bool = False
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    max_tokens: int = 224  # n_text_ctx // 2, as in openai/whisper decoding.py:sample_len
    seed: int = 0

    @property
    def n_rows(self) -> int:
        return self.best_of if self.temperature > 0 else self.beam_size


@dataclass(frozen=True, slots=True)
class Rules:
    """Whisper's rules about which token may follow. Ids only: the engine knows no text.

    suppress: never; suppress_first: not as the first sampled token (blank and end of text).
    timestamps: the grammar of timestamp tokens holds. max_initial: index of the latest first timestamp, or None.
    begun: the end of the prompt that counts as sampled already.
    """

    suppress: tuple[int, ...] = ()
    suppress_first: tuple[int, ...] = ()
    timestamps: bool = True
    max_initial: int | None = 50
    begun: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Keywords:
    """Terms to expect, as a tree of tokens: node 0 is its root, where no term is open. Made by flow/keywords.py.

    The edges of node n are [starts[n], starts[n + 1]): tokens, ascending, and the nodes they lead to (targets). Among
    them are those of terms that are open inside the one that the node stands for; the root's hold beside them.
    gains: what a token gains where nothing can be taken back. shares: what it gains over one that ends all open
    terms, where that one gives back what was gained by them, gained[n].
    """

    starts: np.ndarray  # (N + 1,) int64
    tokens: np.ndarray  # (E,) int64, as the next three
    targets: np.ndarray
    gains: np.ndarray  # float32, nats of log-probability, above 0
    shares: np.ndarray
    gained: np.ndarray  # (N,) float32


@dataclass(frozen=True, slots=True)
class Decode:
    """Continue a prompt. prompt: token ids up to where sampling begins; i_sot: where <|startoftranscript|> stands.

    draft: how it is believed to go on. What of it would have been said anyway costs one pass for all of it; the answer
    is the same without. Only where the most probable token is taken; beams and draws do not look at it.
    keywords: terms that are preferred; log-probabilities that come back are the model's own all the same.
    """

    prompt: tuple[int, ...]
    i_sot: int = 0
    search: Search = Search()
    rules: Rules = Rules()
    draft: tuple[int, ...] = ()
    keywords: Keywords | None = None


@dataclass(frozen=True, slots=True)
class Detect:
    """How probable is each language? languages: their token ids, in the order in which probabilities come back."""

    languages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Align:
    """When is each token spoken? sot: the start sequence without <|notimestamps|>; text: ids below the end of text."""

    sot: tuple[int, ...]
    text: tuple[int, ...]
    medfilt_width: int = 7
    qk_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Encode:
    """The encoder's output itself."""


Ask = Decode | Detect | Align | Encode


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One question about one piece of sound.

    key: whose sound it is, minted by the flow; two windows of the same key share a slot and encode once.
    flow: who asks; the scheduler is fair between flows of a lane.
    """

    key: str
    sound: Sound
    ask: Ask
    flow: str = ""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the engine answers to a Decode. tokens: sampled ids without the end of text; logprobs: one per token.

    avg_logprob: sum of log-probabilities (end of text included) / (n_tokens + 1). no_speech_prob: nan if the
    vocabulary has no such token.
    """

    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float = nan
    temperature: float = 0.0
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Detected:
    """Probabilities (sum 1) in the order of Detect.languages."""

    probs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Aligned:
    """When each token of Align.text and the end of text begin (audio positions of 20 ms), and how probable they are.

    jumps has n_text + 1 entries, probs n_text.
    """

    jumps: tuple[int, ...]
    probs: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """features: (1500, C) float32."""

    features: np.ndarray


Answer = Decoded | Detected | Aligned | Encoded


@dataclass(frozen=True, slots=True)
class Word:
    """word: with its leading space where the language writes one. start, end: seconds. probability: 0 to 1.

    speaker: who says it; None where speakers were not told apart.
    """

    word: str
    start: float
    end: float
    probability: float
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A line of the transcript. start, end: seconds. seek: mel frame (10 ms) at which its window began.

    tokens: ids, timestamps included. words: None unless word_timestamps was asked for,
    or the segment was emptied because it has no length or no text. language: its code, where languages may differ.
    speaker: who says it; None where speakers were not told apart. logprobs: one per token, of what the model was asked
    to say (0.0 where it was told); empty where nobody knows them. They are no part of what makes segments equal.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] | None = None
    speaker: str | None = None
    language: str | None = None
    logprobs: tuple[float, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks. start, end: seconds. speaker: SPEAKER_00 who spoke first, or a name that was given."""

    start: float
    end: float
    speaker: str
