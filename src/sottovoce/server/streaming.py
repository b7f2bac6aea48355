"""What becomes known of a recording, told while it does: server-sent events, as OpenAI's clients read them.

    data: {"type": "transcript.text.delta", "delta": "Hello"}           several; joined they are the text of
    data: {"type": "transcript.text.segment", ..., "speaker": "A"}      with diarized_json only
    data: {"type": "transcript.text.done", "text": "Hello", "usage": {...}}
    data: {"error": {...}}                                              instead, where it fails on the way
    data: [DONE]

Source: openai-python types/audio/transcription_stream_event.py, _streaming.py (3.3.1).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sottovoce.flow.protocol import Event, Known
from sottovoce.server import answers, failures
from sottovoce.server.fields import Format, Wanted
from sottovoce.text.diarized import Letters
from sottovoce.text.formats import Transcript
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Segment

PING_S = 10.0  # proxies give up on a connection that is silent for longer, 30 s the most impatient
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
MOST_WAITING = 64  # events that a slow client may lag behind; then the recording waits for it
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """An answer in events; what makes them is closed when the client leaves, wherever it stands."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        headers: dict[str, str] | None = None,
        held: AsyncExitStack | None = None,
    ) -> None:
        """held: what the events need, closed after them."""
        super().__init__(events, headers={**HEADERS, **(headers or {})})
        self._events, self._held = events, held or AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held, aclosing(self._events):
            await super().__call__(scope, receive, send)


def event(value: Any) -> bytes:
    """One event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n\n"


def failed(error: BaseException) -> bytes:
    """The event of an error, which ends a stream."""
    kind, message, param = failures.told(error)
    return event(failures.body(kind, message, param))


async def ahead(
    run: AsyncGenerator[Event | Transcript, None], ping_s: float = PING_S
) -> AsyncGenerator[Event | Transcript | None, None]:
    """What a run says, and None whenever it has said nothing for ping_s. Closing it closes the run.

    The run has a task of its own: what it binds to its context stays bound from its begin to its end.
    """
    said: asyncio.Queue[Event | Transcript | BaseException | None] = asyncio.Queue(MOST_WAITING)

    async def pump() -> None:
        try:
            async with aclosing(run):
                async for value in run:
                    await said.put(value)
            await said.put(None)
        except Exception as e:
            await said.put(e)

    task = asyncio.create_task(pump(), name="sottovoce-events")
    try:
        while True:
            try:
                value = await asyncio.wait_for(said.get(), ping_s)
            except TimeoutError:
                yield None
                continue
            if isinstance(value, BaseException):
                raise value
            if value is None:
                return
            yield value
    finally:
        task.cancel()
        await asyncio.wait([task])


async def told(
    first: Event | Transcript | None,
    rest: AsyncIterator[Event | Transcript | None],
    wanted: Wanted,
    tokenizer: Tokenizer | None,
) -> AsyncGenerator[bytes, None]:
    """The events of a transcription. first: what its run has said already; rest: what it says from now on.

    tokenizer: the model's, where log-probabilities are wanted.
    """
    teller = _Teller(wanted, tokenizer)
    try:
        for chunk in teller.of(first):
            yield chunk
        async for said in rest:
            for chunk in teller.of(said):
                yield chunk
    except Exception as e:
        failures.log_if_bug(e)
        yield failed(e)
    yield DONE


class _Teller:
    """What has been told already. held: blanks at its end, which are told only before more text."""

    def __init__(self, wanted: Wanted, tokenizer: Tokenizer | None) -> None:
        self._wanted, self._tokenizer = wanted, tokenizer
        channels = wanted.request.channels
        named = channels if isinstance(channels, tuple) else ()
        self._letters = Letters((*named, *(name for name, _ in wanted.request.options.known_speakers)))
        self._text, self._held = "", ""
        self._n_told = 0

    def of(self, said: Event | Transcript | None) -> Iterator[bytes]:
        """The events of what a run says."""
        if said is None:
            yield PING
        elif isinstance(said, Known):
            yield from self._segments(said.segments)
        elif isinstance(said, Transcript):
            yield from self._segments(said.segments[self._n_told :])  # those of an answer that was known at once
            yield event(self._done(said))

    def _segments(self, segments: Sequence[Segment]) -> Iterator[bytes]:
        for s in segments:
            name = f"seg_{self._n_told:03d}"
            self._n_told += 1
            delta = self._delta(s.text)
            if delta:
                told: dict[str, Any] = {"type": "transcript.text.delta", "delta": delta}
                if self._wanted.format is Format.DIARIZED_JSON:
                    told["segment_id"] = name
                if self._wanted.logprobs and self._tokenizer:
                    told["logprobs"] = [p.model_dump() for p in answers.logprobs([s], self._tokenizer)]
                yield event(told)
            if self._wanted.format is Format.DIARIZED_JSON and s.speaker is not None:
                speaker = self._letters.of(s.speaker)
                turn = answers.Turn(id=name, start=s.start, end=s.end, text=s.text, speaker=speaker)
                yield event(turn.model_dump())

    def _delta(self, text: str) -> str:
        """A text without blanks at its end, and at the beginning of all."""
        text = self._held + text if self._text else text.lstrip()
        delta = text.rstrip()
        self._held = text[len(delta) :]
        self._text += delta
        return delta

    def _done(self, transcript: Transcript) -> dict[str, Any]:
        done: dict[str, Any] = {"type": "transcript.text.done", "text": self._text}
        if self._wanted.logprobs and self._tokenizer:
            done["logprobs"] = [p.model_dump() for p in answers.logprobs(transcript.segments, self._tokenizer)]
        if spoken := answers.languages(transcript):
            done["languages"] = [language.model_dump() for language in spoken]
        done["usage"] = answers.usage_tokens(transcript, self._wanted).model_dump()
        return done
