"""The languages of Whisper's vocabulary: their codes, their names, the usual ways to spell them. Knows no token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

from sottovoce.errors import OptionError

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
    "zh-yue": "yue",
}


def language_code(text: str | None) -> str | None:
    """The code of a language given by code, English name, ISO 639 code or locale; None for "auto", "" and None.

    "de", "DE", "de-DE", "de_DE.UTF-8", "ger", "deu" and "German" are all de.
    Raises OptionError for anything else, with the nearest names.
    """
    given = (text or "").strip().lower()
    if given in ("", "auto"):
        return None
    tag = given.split(".")[0].split("@")[0].replace("_", "-")
    subtags = tag.split("-")
    for spelling in (given, tag, " ".join(subtags), subtags[0]):
        if spelling in LANGUAGES:
            return spelling
        code = TO_LANGUAGE_CODE.get(spelling) or _ALSO.get(spelling)
        if code:
            return code
    raise OptionError(
        f"language: {text!r} was given, a code such as de or an English name such as German was expected; "
        f"{_near(given)}leave it out to have it detected"
    )


def _near(given: str) -> str:
    names = get_close_matches(given, [*TO_LANGUAGE_CODE, *LANGUAGES], n=3, cutoff=0.6)
    meant = [f"{name.title()} ({TO_LANGUAGE_CODE[name]})" if name in TO_LANGUAGE_CODE else name for name in names]
    return f"did you mean {' or '.join(meant)}? Else " if meant else ""


# Thai, Lao, Burmese, Khmer, kana, Chinese characters
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def is_unspaced(character: str) -> bool:
    """Is it of a script that writes no spaces between words?"""
    return _WITHOUT_SPACES.match(character) is not None
