"""What belongs together in a language: names, numbers with their units, small words with what follows. Tables, pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SENTENCE_ENDS = ".!?。！？…؟۔।॥"
CLAUSE_ENDS = ",;:，、；：،؛—–"
CLOSERS = "\"'”’»)]}」』）】〉》*_ "
OPENERS = "\"'“‘„«([{¿¡-–—‚*_♪ "


@dataclass(frozen=True, slots=True)
class Small:
    """A language's small words. joins: clauses begin with them; before: stand before a noun; never: nothing ends so."""

    joins: frozenset[str]
    before: frozenset[str]
    never: frozenset[str]

    def __contains__(self, word: str) -> bool:
        return word in self.joins or word in self.before or word in self.never


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _small(joins: str, before: str, never: str) -> Small:
    return Small(_words(joins), _words(before), _words(never))


SMALL: Mapping[str, Small] = {
    "en": _small(
        "and but or nor so yet because although though while when where if unless until since that which who whom "
        "whose as than whether after before what how why",
        "in on at by for from with without about into onto over under between through during of to against among "
        "around across behind beside toward towards upon within",
        "a an the my your his her its our their this these those i you he she it we they is are was were be been am "
        "have has had will would can could shall should may might must do does did not no very don't didn't",
    ),
    "de": _small(
        "und aber oder sondern denn weil dass wenn als ob obwohl während bevor nachdem damit sodass bis wo wie was wer "
        "welche welcher welches deshalb",
        "in im an am auf aus bei beim mit nach von vom vor zu zum zur über unter zwischen durch für gegen ohne um "
        "seit wegen trotz hinter neben",
        "der die das den dem des ein eine einen einem einer eines mein dein sein ihr unser euer kein keine keinen ich "
        "du er sie es wir ist sind war waren hat haben wird werden kann nicht sehr",
    ),
    "fr": _small(
        "et mais ou donc or ni car que qui quand lorsque si comme parce puisque dont où quoi",
        "à au aux de du des en dans par pour sur sous avec sans chez vers entre depuis pendant contre",
        "le la les un une mon ma mes ton ta tes son sa ses notre votre leur leurs ce cet cette ces je tu il elle on "
        "nous vous ils elles ne pas est sont a ont très se",
    ),
    "es": _small(
        "y e pero o u ni sino porque que cuando si aunque como donde mientras pues quien cual",
        "a al de del en con por para sin sobre entre desde hasta hacia contra según ante bajo tras",
        "el la los las un una unos unas mi tu su mis tus sus este esta estos estas ese esa yo él ella no se lo le es "
        "son muy ha han",
    ),
    "it": _small(
        "e ed ma o oppure perché che quando se come dove mentre quindi chi cui né",
        "a al alla ai alle di del della dei delle in nel nella con per da dal dalla su sul sulla tra fra senza",
        "il lo la i gli le un uno una mio tuo suo questo questa non si è sono ha hanno molto io",
    ),
    "pt": _small(
        "e mas ou porque que quando se embora como onde enquanto pois quem nem",
        "a ao à de do da dos das em no na nos nas com por pelo pela para sem sobre entre desde até contra",
        "o os as um uma uns umas meu minha seu sua este esta esse essa não se é são muito eu ele ela",
    ),
    "nl": _small(
        "en maar of want omdat dat als toen terwijl hoewel zodat wie wat waar hoe die",
        "in op aan bij met van voor door naar over onder tussen uit om zonder tegen tot te",
        "de het een mijn jouw zijn haar ons onze hun dit deze ik je jij hij ze we is was niet geen heel",
    ),
    "pl": _small(
        "i a ale lub albo bo że kiedy gdy jeśli choć który która które gdzie jak co oraz",
        "w we z ze na do od po przy przez dla o u pod nad między bez za",
        "ten ta to nie się jest są był mój twój jego jej bardzo",
    ),
    "sv": _small(
        "och men eller för att som när om eftersom medan där hur vad vem",
        "i på av till från med utan om över under mellan genom vid hos mot",
        "en ett den det de min din sin jag du han hon vi är var har inte mycket",
    ),
    "ru": _small(
        "и а но или что чтобы когда если хотя потому как где который которая которые пока",
        "в во на с со к ко по из от до у о об за под над между через без для при",
        "не ни этот эта это мой твой его её их очень я ты он она мы вы",
    ),
    "uk": _small(
        "і й та а але або що щоб коли якщо хоча бо як де який яка які поки",
        "в у на з зі до по із від за під над між через без для при про",
        "не ні цей ця це мій твій його її їх дуже я ти він вона ми ви",
    ),
    "tr": _small("ve ama veya ya fakat çünkü ki eğer", "", "bir bu şu o çok en"),
    "ar": _small(
        "أن لكن أو ثم لأن حتى إذا عندما حيث الذي التي", "في من إلى على عن مع بين بعد قبل خلال", "لا لم لن ما هذا هذه كل"
    ),
    "he": _small("אבל או כי אם כאשר אשר ש", "של על אל עם בין אחרי לפני", "את לא זה זאת כל"),
}
NO_SMALL = _small("", "", "")

# --- numbers ---------------------------------------------------------------------------------------------------------

UNITS = _words(
    "mm cm dm m km mi ft yd mg g kg t lb lbs oz ml cl l dl ha s sec min h hr hrs ms hz khz mhz ghz w kw mw gw kwh "
    "kb mb gb tb mbit gbit px dpi fps °c °f ° % ‰ € $ £ ¥ eur usd gbp chf percent prozent procent pour por per "
    "million millions millionen billion billions trillion thousand hundred tausend milliarde milliarden millones "
    "mio mrd mill euro euros dollar dollars pounds cents uhr o'clock am pm a.m p.m ad bc bce ce kilometers "
    "kilometres kilometer meters metres meter miles feet inches grams kilograms kilogramm liters litres liter "
    "degrees grad minutes minuten seconds sekunden hours stunden days tage tagen weeks wochen months monate years "
    "jahre años jahr ans heures jours minutos horas días km/h mph км м см кг г л ч мин сек с руб р рублей процентов "
    "тысяч миллионов лет года год часов минут دولار كم متر كيلومترا بالمئة 년 월 일 시 분 초 원 명 개 번 "
    "킬로미터 퍼센트 ดอลลาร์ บาท กิโลเมตร"
)
SHARES = frozenset((("por", "ciento"), ("per", "cent"), ("per", "cento"), ("por", "cento"), ("pour", "cent")))
BEFORE_NUMBERS = _words("no nr nº n° № § p pp s art fig vol ch € $ £ ¥ eur usd gbp chf room page zimmer seite")
NUMBER = re.compile(r"^[+\-−~±€$£¥(]*\d[\d.,:/'’\u00a0\u202f]*(?:st|nd|rd|th|º|ª|er|e)?[%°]?\)?$")
GROUP = re.compile(r"^\d{3}(?:\D|$)")
INITIAL = re.compile(r"^\w\.$")
ORDINALS = frozenset(("de", "da", "no", "nn", "fi", "cs", "sk", "hu", "hr", "sl", "et", "is", "pl", "tr"))  # "3. Mai"

# --- names -----------------------------------------------------------------------------------------------------------

PARTICLES = _words("van von de der den ter da di del della du dos das la le bin ibn al el y of zu af")
TITLES = _words(
    "mr mrs ms dr prof st sr sra jr hr fr m mme mlle sig dott ing rev gen col capt sgt lt sen rep gov hon mt"
)
ABBREVIATIONS = TITLES | _words("no nr vs etc ca bzw usw ggf inkl z.b d.h e.g i.e cf vgl art fig vol al bd str")
MAX_SHOUTED = 0.6  # of a text's words are capitalised: names cannot be told from them


def bare(word: str) -> str:
    """The word without marks around it."""
    return word.strip(OPENERS + CLOSERS + SENTENCE_ENDS + CLAUSE_ENDS)


def ends_sentence(word: str, after: str | None, language: str) -> bool:
    """A sentence ends with this word. after: the next one."""
    text = word.rstrip(CLOSERS)
    if not text or text[-1] not in SENTENCE_ENDS:
        return False
    if text.endswith(("...", "…")):
        return after is None or not bare(after)[:1].islower()
    if text[-1] != ".":
        return True
    low = bare(word).lower()
    if after is not None and (INITIAL.match(text.lstrip(OPENERS)) or low in ABBREVIATIONS):
        return False
    if language in ORDINALS and low.isdigit() and len(low) <= 2 and after is not None:
        return False
    return after is None or not bare(after)[:1].islower()


def ends_clause(word: str) -> bool:
    text = word.rstrip(CLOSERS)
    return bool(text) and text[-1] in CLAUSE_ENDS + SENTENCE_ENDS


def _is_capitalised(word: str) -> bool:
    return bare(word)[:1].isupper()


def are_loud(words: Sequence[str]) -> bool:
    """So many of a segment's words are capitalised that names cannot be told from them."""
    cased = [w for w in words if bare(w)[:1].isupper() or bare(w)[:1].islower()]
    return len(cased) >= 4 and sum(map(_is_capitalised, cased)) > MAX_SHOUTED * len(cased)


def bonds(words: Sequence[str], loud: Sequence[bool], language: str) -> list[bool]:
    """For each word whether it goes on with the one before it: a name, or a number and its unit."""
    small = SMALL.get(language, NO_SMALL)
    is_name = [
        not shouted and _is_capitalised(w) and bare(w).lower() not in small
        for w, shouted in zip(words, loud, strict=True)
    ]
    bound = [False] * len(words)
    for i in range(1, len(words)):
        a, b = words[i - 1], words[i]
        bound[i] = _is_number_with(a, b, language) or (is_name[i - 1] and is_name[i] and _goes_on(a))
        if i >= 2 and bare(a).lower() in PARTICLES and is_name[i] and is_name[i - 2] and a.islower():
            bound[i] = bound[i - 1] = bound[i] or (_goes_on(words[i - 2]) and not ends_clause(a))
        through = words[i - 2 : i]  # "de la", "von der"
        if i >= 3 and is_name[i] and is_name[i - 3] and all(w.islower() and bare(w) in PARTICLES for w in through):
            bound[i] = bound[i - 1] = bound[i - 2] = _goes_on(words[i - 3])
    return bound


def _goes_on(word: str) -> bool:
    """A name does not end with this word: no mark closes it, but that of an initial or a title."""
    if not ends_clause(word) and word.rstrip(CLOSERS.replace("'", "").replace("’", "")) == word:
        return True
    return bool(INITIAL.match(word.lstrip(OPENERS))) or (word.endswith(".") and bare(word).lower() in TITLES)


def _is_number_with(a: str, b: str, language: str) -> bool:
    first, second = bare(a), bare(b)
    if INITIAL.match(a.lstrip(OPENERS)) and INITIAL.match(b.rstrip(CLOSERS + CLAUSE_ENDS)):
        return True  # p. m., z. B., J. R.
    if (first.lower(), second.lower()) in SHARES:
        return True
    is_number = NUMBER.match(b.rstrip(CLOSERS + CLAUSE_ENDS + SENTENCE_ENDS)) and not ends_clause(a.rstrip("."))
    if is_number and (first.lower() in BEFORE_NUMBERS or a in "€$£¥§№"):
        return True
    if not first or not NUMBER.match(a.rstrip(CLOSERS)) or a[-1] in ",;:!?":
        return False
    if a.endswith("."):
        return language in ORDINALS and second[:1].isupper()  # 3. Mai
    if INITIAL.match(b) or (GROUP.match(second) and re.fullmatch(r"\D?\d{1,3}", first)):
        return True  # 5 p. m., 1 000 000
    return second.lower() in UNITS or b.rstrip(CLAUSE_ENDS + SENTENCE_ENDS).lower() in UNITS
