"""The languages of Whisper's vocabulary: their codes, their names, the usual ways to spell them. Knows no token."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from difflib import get_close_matches

from sottovoce.errors import OptionError
from sottovoce.text.endonyms import ENDONYMS

# code -> English name, in the order of their tokens; openai/whisper tokenizer.py:LANGUAGES (20250625)
LANGUAGES: Mapping[str, str] = {
    "en": "english",
    "zh": "chinese",
    "de": "german",
    "es": "spanish",
    "ru": "russian",
    "ko": "korean",
    "fr": "french",
    "ja": "japanese",
    "pt": "portuguese",
    "tr": "turkish",
    "pl": "polish",
    "ca": "catalan",
    "nl": "dutch",
    "ar": "arabic",
    "sv": "swedish",
    "it": "italian",
    "id": "indonesian",
    "hi": "hindi",
    "fi": "finnish",
    "vi": "vietnamese",
    "he": "hebrew",
    "uk": "ukrainian",
    "el": "greek",
    "ms": "malay",
    "cs": "czech",
    "ro": "romanian",
    "da": "danish",
    "hu": "hungarian",
    "ta": "tamil",
    "no": "norwegian",
    "th": "thai",
    "ur": "urdu",
    "hr": "croatian",
    "bg": "bulgarian",
    "lt": "lithuanian",
    "la": "latin",
    "mi": "maori",
    "ml": "malayalam",
    "cy": "welsh",
    "sk": "slovak",
    "te": "telugu",
    "fa": "persian",
    "lv": "latvian",
    "bn": "bengali",
    "sr": "serbian",
    "az": "azerbaijani",
    "sl": "slovenian",
    "kn": "kannada",
    "et": "estonian",
    "mk": "macedonian",
    "br": "breton",
    "eu": "basque",
    "is": "icelandic",
    "hy": "armenian",
    "ne": "nepali",
    "mn": "mongolian",
    "bs": "bosnian",
    "kk": "kazakh",
    "sq": "albanian",
    "sw": "swahili",
    "gl": "galician",
    "mr": "marathi",
    "pa": "punjabi",
    "si": "sinhala",
    "km": "khmer",
    "sn": "shona",
    "yo": "yoruba",
    "so": "somali",
    "af": "afrikaans",
    "oc": "occitan",
    "ka": "georgian",
    "be": "belarusian",
    "tg": "tajik",
    "sd": "sindhi",
    "gu": "gujarati",
    "am": "amharic",
    "yi": "yiddish",
    "lo": "lao",
    "uz": "uzbek",
    "fo": "faroese",
    "ht": "haitian creole",
    "ps": "pashto",
    "tk": "turkmen",
    "nn": "nynorsk",
    "mt": "maltese",
    "sa": "sanskrit",
    "lb": "luxembourgish",
    "my": "myanmar",
    "bo": "tibetan",
    "tl": "tagalog",
    "mg": "malagasy",
    "as": "assamese",
    "tt": "tatar",
    "haw": "hawaiian",
    "ln": "lingala",
    "ha": "hausa",
    "ba": "bashkir",
    "jw": "javanese",
    "su": "sundanese",
    "yue": "cantonese",
}

# English name -> code, with the aliases of openai/whisper tokenizer.py:TO_LANGUAGE_CODE (20250625)
TO_LANGUAGE_CODE: Mapping[str, str] = {
    **{name: code for code, name in LANGUAGES.items()},
    "burmese": "my",
    "valencian": "ca",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "pushto": "ps",
    "panjabi": "pa",
    "moldavian": "ro",
    "moldovan": "ro",
    "sinhalese": "si",
    "castilian": "es",
    "mandarin": "zh",
}

# Three-letter codes of ISO 639-2 (both forms where there are two) and of ISO 639-3, the individual languages included
# that stand behind a macrolanguage; then codes that ISO 639-1 renamed, and codes of near kin that Whisper writes alike.
_ISO = """
    eng:en zho:zh chi:zh cmn:zh deu:de ger:de spa:es rus:ru kor:ko fra:fr fre:fr jpn:ja por:pt tur:tr pol:pl cat:ca
    nld:nl dut:nl ara:ar arb:ar swe:sv ita:it ind:id hin:hi fin:fi vie:vi heb:he ukr:uk ell:el gre:el msa:ms may:ms
    zsm:ms ces:cs cze:cs ron:ro rum:ro dan:da hun:hu tam:ta nor:no nob:no tha:th urd:ur hrv:hr bul:bg lit:lt lat:la
    mri:mi mao:mi mal:ml cym:cy wel:cy slk:sk slo:sk tel:te fas:fa per:fa pes:fa lav:lv lvs:lv ben:bn srp:sr aze:az
    azj:az slv:sl kan:kn est:et ekk:et mkd:mk mac:mk bre:br eus:eu baq:eu isl:is ice:is hye:hy arm:hy nep:ne npi:ne
    mon:mn khk:mn bos:bs kaz:kk sqi:sq alb:sq als:sq swa:sw swh:sw glg:gl mar:mr pan:pa sin:si khm:km sna:sn yor:yo
    som:so afr:af oci:oc kat:ka geo:ka bel:be tgk:tg snd:sd guj:gu amh:am yid:yi ydd:yi uzb:uz uzn:uz fao:fo
    hat:ht pus:ps pbt:ps tuk:tk nno:nn mlt:mt san:sa ltz:lb mya:my bur:my bod:bo tib:bo tgl:tl fil:tl mlg:mg plt:mg
    asm:as tat:tt lin:ln hau:ha bak:ba jav:jw sun:su
    jv:jw nb:no iw:he in:id ji:yi mo:ro
"""

_ALSO: Mapping[str, str] = {
    **dict(pair.split(":") for pair in _ISO.split()),
    "bokmal": "no",
    "bokmål": "no",
    "norwegian bokmål": "no",
    "norwegian nynorsk": "nn",
    "farsi": "fa",
    "filipino": "tl",
    "luxembourgeois": "lb",
    "simplified chinese": "zh",
    "traditional chinese": "zh",
    "brazilian portuguese": "pt",
    "zh-yue": "yue",
}


# Whose characters Chinese is written with: script and region subtags, and words that say the same. A script comes first
_SCRIPTS: Mapping[str, str] = {
    **dict.fromkeys(("hans", "simplified", "简体", "简体中文", "簡體", "簡體中文"), "Hans"),
    **dict.fromkeys(("hant", "traditional", "繁體", "繁體中文", "繁体", "繁体中文", "正體", "正體中文"), "Hant"),
}
_REGIONS: Mapping[str, str] = {
    **dict.fromkeys(("cn", "sg", "my", "china", "singapore"), "Hans"),
    **dict.fromkeys(("tw", "hk", "mo", "taiwan", "hong kong", "macau", "macao"), "Hant"),
}
_CHINESE = ("zh", "yue")


def language_code(text: str | None) -> str | None:
    """The code of a language given by code, name, ISO 639 code or locale; None for "auto", "" and None.

    "de", "DE", "de-DE", "de_DE.UTF-8", "ger", "deu", "German", "German (Austria)" and "Deutsch" are all de.
    Raises OptionError for anything else, with the nearest names.
    """
    given = (text or "").strip().lower()
    if given in ("", "auto"):
        return None
    for spelling in _spellings(given):
        code = _CODES.get(spelling)
        if code:
            return code
    raise OptionError(
        f"language: {text!r} was given, a code such as de or a name such as German or Deutsch was expected; "
        f"{_near(given)}leave it out to have it detected"
    )


def language_tag(text: str | None) -> str | None:
    """The code of a language, and for Chinese the script that is wanted: zh-Hans, zh-Hant; None for "auto".

    "zh-CN", "zh-SG" and "Simplified Chinese" are zh-Hans, "zh_TW", "zh-HK" and "Chinese (Traditional)" zh-Hant; "zh" is
    zh, in whichever script the model writes. Raises OptionError as `language_code` does.
    """
    code = language_code(text)
    if code not in _CHINESE:
        return code
    words = _words((text or "").strip().lower())
    found = [table[w] for table in (_SCRIPTS, _REGIONS) for w in [" ".join(words[1:]), *words] if w in table]
    return f"{code}-{found[0]}" if found else code


def wanted_script(tag: str | None) -> str | None:
    """Hans or Hant, where a language is given so that it says so. Cantonese is written in traditional characters."""
    code, _, script = (language_tag(tag) or "").partition("-")
    return script or ("Hant" if code == "yue" else None)


def _spellings(given: str) -> list[str]:
    """A language as it is given, and without what usually stands around it: a region, an encoding, brackets."""
    tag = given.split(".")[0].split("@")[0].replace("_", "-")
    subtags = tag.split("-")
    found = [given, tag, " ".join(subtags), subtags[0]]
    bare = re.sub(r"\s*[(（][^)）]*[)）]$", "", given)
    if bare != given:
        found.append(bare)
    return [s for spelling in found for s in (spelling, _folded(spelling))]


def _words(given: str) -> list[str]:
    return [w for w in re.split(r"[\s_()（）-]+", given.split(".")[0].split("@")[0]) if w]


def _folded(text: str) -> str:
    """Without accents, composed and in small; scripts whose marks are letters keep them."""
    text = unicodedata.normalize("NFC", text).casefold()
    latin = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return latin if all(c < "\u0370" for c in latin) else text


def _near(given: str) -> str:
    names = get_close_matches(given, [*TO_LANGUAGE_CODE, *LANGUAGES, *_OWN], n=3, cutoff=0.6)
    known = {**_OWN, **TO_LANGUAGE_CODE}
    meant = list(dict.fromkeys(f"{n.title()} ({known[n]})" if n in known else n for n in names))
    return f"did you mean {' or '.join(meant)}? Else " if meant else ""


_OWN: Mapping[str, str] = {name.lower(): code for code, names in ENDONYMS.items() for name in names.split(", ")}
_CODES: Mapping[str, str] = {
    **{_folded(name): code for name, code in _OWN.items()},
    **_OWN,
    **{_folded(name): code for name, code in _ALSO.items()},
    **_ALSO,
    **TO_LANGUAGE_CODE,
    **{code: code for code in LANGUAGES},
}
# Thai, Lao, Burmese, Khmer, kana, Chinese characters
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def is_unspaced(character: str) -> bool:
    """Is it of a script that writes no spaces between words?"""
    return _WITHOUT_SPACES.match(character) is not None
