"""Languages: every usual spelling finds its code, and a wrong one is answered with what was meant."""

from __future__ import annotations

import pytest

from sottovoce.errors import OptionError
from sottovoce.text.languages import _ALSO, LANGUAGES, TO_LANGUAGE_CODE, language_code


@pytest.mark.parametrize(
    "text", ["de", "DE", " German ", "german", "GERMAN", "de-DE", "de_AT", "de_DE.UTF-8", "ger", "deu"]
)
def test_german_is_found_by_any_spelling(text: str) -> None:
    assert language_code(text) == "de"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *[("zh-CN", "zh"), ("zh_TW", "zh"), ("zh-Hant-TW", "zh"), ("Mandarin", "zh"), ("Chinese", "zh"), ("zho", "zh")],
        *[("cmn", "zh"), ("yue", "yue"), ("zh-yue", "yue"), ("Cantonese", "yue"), ("eng", "en"), ("en-GB", "en")],
        *[
            ("Burmese", "my"),
            ("Valencian", "ca"),
            ("Flemish", "nl"),
            ("Castilian", "es"),
            ("jv", "jw"),
            ("nb-NO", "no"),
        ],
        *[
            ("Haitian Creole", "ht"),
            ("haitian_creole", "ht"),
            ("haw", "haw"),
            ("iw", "he"),
            ("fil", "tl"),
            ("Farsi", "fa"),
        ],
    ],
)
def test_a_spelling_finds_its_code(text: str, code: str) -> None:
    assert language_code(text) == code


@pytest.mark.parametrize("text", [None, "", "  ", "auto", "AUTO"])
def test_auto_asks_for_detection(text: str | None) -> None:
    assert language_code(text) is None


@pytest.mark.parametrize(("text", "meant"), [("germn", "German (de)"), ("Englsh", "English (en)"), ("Catonese", "yue")])
def test_a_wrong_language_is_answered_with_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(OptionError) as raised:
        language_code(text)
    assert repr(text) in str(raised.value)
    assert meant in str(raised.value)


@pytest.mark.parametrize("text", ["klingon", "xx", "-", "deutschland ist ein land", "e n", "None"])
def test_nonsense_is_no_language(text: str) -> None:
    with pytest.raises(OptionError, match="was expected"):
        language_code(text)


def test_there_are_a_hundred_languages_in_token_order() -> None:
    assert len(LANGUAGES) == 100
    assert list(LANGUAGES)[:5] == ["en", "zh", "de", "es", "ru"]
    assert list(LANGUAGES)[-3:] == ["jw", "su", "yue"]


def test_every_name_and_code_leads_to_a_language() -> None:
    assert {language_code(code) for code in LANGUAGES} == set(LANGUAGES)
    assert all(language_code(name) == code for name, code in TO_LANGUAGE_CODE.items())
    assert set(_ALSO.values()) <= set(LANGUAGES)


def test_every_language_of_iso_639_1_has_a_three_letter_code() -> None:
    three = {code for spelling, code in _ALSO.items() if len(spelling) == 3}
    assert set(LANGUAGES) - three == {"haw", "yue", "lo"}  # three letters themselves, and Lao is its own name


def test_no_spelling_hides_a_code() -> None:
    assert not set(_ALSO) & (set(LANGUAGES) | set(TO_LANGUAGE_CODE))
