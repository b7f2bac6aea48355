"""Events of a transcription: what they say joined is the text, silence has its pings, and who leaves ends the run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from sottovoce.errors import EngineError
from sottovoce.flow.protocol import Event, Heard, Known
from sottovoce.server import fields, forms, streaming
from sottovoce.server.fields import Wanted
from sottovoce.text.formats import Transcript
from sottovoce.types import Segment

TEXTS = (" Hello there.", "", " General Kenobi! ", "\n", " You are bold.")


def segments(texts: Sequence[str] = TEXTS, speaker: str | None = None) -> tuple[Segment, ...]:
    return tuple(Segment(i, 0, i, i + 1.0, t, (1, 2), 0.0, -0.1, 1.0, 0.0, None, speaker) for i, t in enumerate(texts))


def transcript(found: Sequence[Segment]) -> Transcript:
    return Transcript("".join(s.text for s in found), tuple(found), "en", 5.0)


def wanted(**given: str) -> Wanted:
    return fields.wanted(forms.gathered({"stream": "true", **given}.items()))


class Run:
    """A run that says what it is given; it knows whether it was closed."""

    def __init__(self, *said: Event | Transcript | Exception, waits_s: float = 0.0) -> None:
        self.said, self.waits_s = said, waits_s
        self.n_said, self.ended = 0, False

    async def events(self) -> AsyncGenerator[Event | Transcript, None]:
        try:
            for one in self.said:
                await asyncio.sleep(self.waits_s)
                if isinstance(one, Exception):
                    raise one
                self.n_said += 1
                yield one
        finally:
            self.ended = True


def told(run: Run, want: Wanted, ping_s: float = 10.0) -> list[Any]:
    """Every event, as a client reads them; "ping" and "[DONE]" as they are."""

    async def all_() -> list[bytes]:
        async with aclosing(streaming.ahead(run.events(), ping_s)) as ahead:
            first = await anext(ahead)
            return [chunk async for chunk in streaming.told(first, ahead, want, None)]

    found: list[Any] = []
    for chunk in asyncio.run(all_()):
        assert chunk.endswith(b"\n\n") and chunk.count(b"\n") == 2, "one event, one line"
        line = chunk.decode().strip()
        found.append(json.loads(line[6:]) if line.startswith("data: {") else line.removeprefix("data: "))
    assert run.ended
    return found


def deltas(events: list[Any]) -> list[str]:
    return [e["delta"] for e in events if isinstance(e, dict) and e.get("type") == "transcript.text.delta"]


def test_deltas_joined_are_the_text_without_blanks_around_it() -> None:
    found = segments()
    events = told(Run(Heard("en", 1.0), Known(found[:2], 2.0), Known(found[2:], 5.0), transcript(found)), wanted())
    assert events[-1] == "[DONE]" and events[-2]["type"] == "transcript.text.done"
    assert "".join(deltas(events)) == events[-2]["text"] == "Hello there. General Kenobi! \n You are bold."
    assert "" not in deltas(events)
    usage = events[-2]["usage"]
    assert (usage["type"], usage["total_tokens"]) == ("tokens", usage["input_tokens"] + usage["output_tokens"])


def test_an_answer_that_is_known_at_once_has_its_deltas_too() -> None:
    found = segments()
    assert told(Run(transcript(found)), wanted()) == told(Run(Known(found, 5.0), transcript(found)), wanted())


def test_silence_is_an_empty_text() -> None:
    events = told(Run(transcript(())), wanted())
    assert [e["text"] for e in events[:-1]] == [""]


def test_turns_have_speakers_and_letters_never_take_a_name() -> None:
    found = segments(speaker="SPEAKER_00")
    events = told(Run(Known(found, 5.0), transcript(found)), wanted(response_format="diarized_json"))
    turns = [e for e in events if isinstance(e, dict) and e["type"] == "transcript.text.segment"]
    assert [t["speaker"] for t in turns] == ["A"] * len(found)
    assert len({t["id"] for t in turns}) == len(found)
    assert "".join(deltas(events)) == events[-2]["text"]


def test_what_fails_on_the_way_is_told_and_the_stream_ends() -> None:
    events = told(Run(Known(segments(), 1.0), EngineError("the device is gone")), wanted())
    assert events[-1] == "[DONE]"
    assert events[-2]["error"]["message"] == "the device is gone"
    assert set(events[-2]["error"]) == {"message", "type", "param", "code"}


def test_a_bug_tells_nothing_of_the_inside() -> None:
    events = told(Run(Known(segments(), 1.0), ZeroDivisionError("/srv/secret")), wanted())
    assert events[-2]["error"]["code"] == "internal_error"
    assert "secret" not in str(events)


def test_while_nothing_is_known_there_are_pings() -> None:
    events = told(Run(Heard("en", 1.0), transcript(segments()), waits_s=0.3), wanted(), ping_s=0.05)
    assert events.count(": ping") >= 3
    assert "".join(deltas(events)) == events[-2]["text"]


def test_who_leaves_ends_the_run() -> None:
    run = Run(*[Known(segments(), 1.0)] * 3, transcript(()), waits_s=0.01)

    async def leave() -> None:
        ahead = streaming.ahead(run.events())
        assert await anext(ahead) is not None
        await ahead.aclose()

    asyncio.run(leave())
    assert run.ended and run.n_said < 3


def test_a_run_waits_for_a_client_that_does_not_read() -> None:
    run = Run(*[Known((), 1.0)] * (streaming.MOST_WAITING * 4), transcript(()))

    async def dawdle() -> int:
        async with aclosing(streaming.ahead(run.events())) as ahead:
            await anext(ahead)
            for _ in range(streaming.MOST_WAITING * 8):
                await asyncio.sleep(0)
            return run.n_said

    assert asyncio.run(dawdle()) <= streaming.MOST_WAITING + 3
