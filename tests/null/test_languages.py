"""Languages: every usual spelling finds its code, and a wrong one is answered with what was meant."""

from __future__ import annotations

import pytest

from sottovoce.errors import OptionError
from sottovoce.text.endonyms import ENDONYMS
from sottovoce.text.languages import _ALSO, LANGUAGES, TO_LANGUAGE_CODE, language_code, language_tag, wanted_script


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


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *[
            ("Deutsch", "de"),
            ("中文", "zh"),
            ("Français", "fr"),
            ("francais", "fr"),
            ("ESPAÑOL", "es"),
            ("日本語", "ja"),
        ],
        *[("한국어", "ko"), ("Русский", "ru"), ("العربية", "ar"), ("हिन्दी", "hi"), ("廣東話", "yue"), ("suomi", "fi")],
        *[("pt-BR", "pt"), ("Portuguese (Brazil)", "pt"), ("de-AT", "de"), ("中文（简体）", "zh"), ("Türkçe", "tr")],
    ],
)
def test_a_language_goes_by_its_own_name(text: str, code: str) -> None:
    assert language_code(text) == code


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        *[("zh", "zh"), ("Chinese", "zh"), ("cmn", "zh"), ("zho", "zh"), ("zh-Hans", "zh-Hans"), ("zh-CN", "zh-Hans")],
        *[("zh-SG", "zh-Hans"), ("zh_TW", "zh-Hant"), ("zh-HK", "zh-Hant"), ("zh-Hant-TW", "zh-Hant")],
        *[("zh-Hans-HK", "zh-Hans"), ("zh_TW.UTF-8", "zh-Hant"), ("Traditional Chinese", "zh-Hant")],
        *[
            ("Chinese (Traditional)", "zh-Hant"),
            ("繁體中文", "zh-Hant"),
            ("简体中文", "zh-Hans"),
            ("zh-Hant", "zh-Hant"),
        ],
        *[
            ("Chinese (Hong Kong)", "zh-Hant"),
            ("yue", "yue"),
            ("yue-Hans", "yue-Hans"),
            ("de-CN", "de"),
            ("auto", None),
        ],
    ],
)
def test_a_tag_says_whose_characters_are_wanted(text: str, tag: str | None) -> None:
    assert language_tag(text) == tag
    assert language_tag(tag) == tag, "it is its own spelling"


@pytest.mark.parametrize(
    ("tag", "script"),
    [("zh", None), ("zh-Hans", "Hans"), ("zh-TW", "Hant"), ("yue", "Hant"), ("de", None), (None, None)],
)
def test_a_script_is_wanted_only_where_it_is_said(tag: str | None, script: str | None) -> None:
    assert wanted_script(tag) == script


def test_each_own_name_leads_to_its_language_and_hides_no_other() -> None:
    for code, names in ENDONYMS.items():
        for name in names.split(", "):
            assert language_code(name) == language_code(name.upper()) == code, name


def test_a_wrong_own_name_is_answered_with_what_was_meant() -> None:
    with pytest.raises(OptionError, match=r"Deutsch \(de\)"):
        language_code("Deutch")
