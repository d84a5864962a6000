"""Numbers, amounts, times and dates of a text, by value: 48 million is 48,000,000, and 18 February is 18.02."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_WORDS = {word: float(value) for value, word in enumerate(_ONES.split())}
_WORDS |= {word: 10.0 * value for value, word in enumerate(_TENS.split(), 2)}
_NTH = {word: float(value) for value, word in enumerate(_ORDINALS.split(), 1)}
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "millions": 1e6, "m": 1e6, "billion": 1e9, "bn": 1e9}
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
FRACTIONS = {"half": 0.5, "halves": 0.5, "third": 1 / 3, "thirds": 1 / 3, "quarter": 0.25, "quarters": 0.25}

_UNITS: dict[str, tuple[str, float]] = {}
"""A unit's names, to its dimension and how many of the dimension's own unit it is. Months are no number of days."""
for _dimension, _factor, _names in (
    ("time", 1, "s sec second seconds"),
    ("time", 60, "min minute minutes"),
    ("time", 3600, "h hour hours"),
    ("time", 86400, "day days"),
    ("time", 604800, "week weeks"),
    ("months", 1, "month months"),
    ("months", 12, "year years"),
    ("percent", 1, "% percent"),
    ("euro", 1, "€ eur euro euros"),
    ("euro", 0.01, "cent cents"),
    ("dollar", 1, "$ usd dollar dollars"),
    ("pound", 1, "£ gbp pounds"),
    ("franc", 1, "chf franc francs"),
    ("crown", 1, "nok sek dkk kr krone kroner kronor"),
    ("length", 1, "mm millimetre millimetres millimeter millimeters"),
    ("length", 10, "cm centimetre centimetres centimeter centimeters"),
    ("length", 1000, "metre metres meter"),
    ("length", 1e6, "km kilometre kilometres kilometer kilometers"),
    ("inch", 1, "inch inches"),
    ("mass", 1, "mg milligram milligrams"),
    ("mass", 1e3, "g gram grams"),
    ("mass", 1e6, "kg kilogram kilograms"),
    ("mass", 1e9, "tonne tonnes"),
    ("volume", 1, "ml millilitre millilitres"),
    ("volume", 1000, "l litre litres liter liters"),
    ("area", 1, "m² m2"),
    ("cubic", 1, "m³ m3"),
    ("flow", 1, "m³/h"),
    ("energy", 1, "kwh"),
    ("energy", 1e3, "mwh"),
    ("energy", 1e6, "gwh"),
    ("frequency", 1, "hz hertz"),
    ("frequency", 1e6, "mhz megahertz"),
    ("celsius", 1, "°c"),
    ("fahrenheit", 1, "°f"),
    ("bar", 1, "bar"),
    ("decibel", 1, "decibel decibels db"),
    ("volt", 1, "volt volts v"),
    ("watt", 1, "watt watts w"),
    ("watt", 1e3, "kw kilowatt kilowatts"),
    ("watt", 1e6, "mw megawatt megawatts"),
    ("newton", 1, "nm"),
    ("times", 1, "times"),
    ("points", 1, "points"),
):
    _UNITS |= {name: (_dimension, float(_factor)) for name in _names.split()}
_PHRASES = (
    (r"degrees?\s+celsius|°\s?C\b", "°c"),
    (r"degrees?\s+fahrenheit|°\s?F\b", "°f"),
    (r"(?:cubic\s+met(?:re|er)s|m³)\s*(?:an|per|/)\s*(?:hour|h\b)", "m³/h"),
    (r"cubic\s+met(?:re|er)s?", "m³"),
    (r"square\s+met(?:re|er)s?", "m²"),
    (r"newton\s+met(?:re|er)s?", "nm"),
    (r"kilowatt\s+hours?", "kwh"),
    (r"gigawatt\s+hours?", "gwh"),
    (r"per\s?cent(?!\w)", "%"),
)
_PLAIN = r"\d{1,3}(?:[,.'\u00a0\u202f ]\d{3})+(?![\d])(?:[.,]\d{1,2}(?!\d))?|\d+(?:[.,]\d+)?"
_WORD = (
    rf"(?:{'|'.join(_TENS.split())})[-\s](?:{'|'.join(_ONES.split()[1:10])})|{'|'.join(sorted(_WORDS, key=len, reverse=True))}"
)
_SHORT_MONTHS = "Jan Feb Mar Apr Jun Jul Aug Sept Sep Oct Nov Dec"
_MONTH = "|".join(
    [
        *(month.title() for month in _MONTHS),
        *["Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sept", "Sep", "Oct", "Nov", "Dec"],
    ]
)
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_SCALE = "|".join(sorted(_SCALES, key=len, reverse=True))


_COUNTED = re.compile(
    r"\s(?!of\b|is\b|was\b|are\b|were\b|to\b|in\b|on\b|with\b|that\b|who\b|which\b|and\b|or\b|may\b|must\b|can\b|has\b)[a-z]"
)
"""What follows "one" where it counts something; elsewhere it is a pronoun."""

_POINTING = re.compile(r"\b(?:first|second|third|last|next|this|that|which|new|old|higher|lower|same)\s$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something with a value at characters [start, end) of a text.

    `kind` is number, nth, time, date, weekday or fraction; `values` holds each reading that the writing allows; `unit` is
    the dimension, empty where none is known, `noun` the word that follows then.
    """

    kind: str
    values: frozenset[tuple[float | None, ...]]
    start: int
    end: int
    unit: str = ""
    bare: frozenset[float] = frozenset()
    """The values without their unit, for a text that leaves it out."""

    def agrees(self, other: Quantity) -> bool:
        """Whether the other, of a source, says what this one says."""
        if self.kind == "date":
            return other.kind == "date" and any(_same_date(one, two) for one in self.values for two in other.values)
        if self.kind != other.kind or (self.unit and other.unit and self.unit != other.unit):
            return False
        if self.unit != other.unit and self.bare and other.bare:
            return any(_near((one,), (two,)) for one in self.bare for two in other.bare)
        return any(_near(one, two) for one in self.values for two in other.values)

    def rivals(self, other: Quantity) -> bool:
        """Whether the other could stand where this one stands."""
        if self.kind == "date":
            return other.kind == "date" and any(_as_full(one, two) for one in self.values for two in other.values)
        return self.kind == other.kind and (self.unit == other.unit)


def quantities(text: str) -> list[Quantity]:
    """The quantities of a text, in order and disjoint."""
    found: list[Quantity] = []
    place = 0
    ahead = {pattern: match for pattern, _ in _FORMS if (match := pattern.search(text))}
    while ahead:
        for pattern in [pattern for pattern, match in ahead.items() if match.start() < place]:
            again = pattern.search(text, place)
            if again:
                ahead[pattern] = again
            else:
                del ahead[pattern]
        best = min(
            ((ahead[pattern], make) for pattern, make in _FORMS if pattern in ahead),
            key=lambda one: (one[0].start(), -one[0].end()),
            default=None,
        )
        if best is None:
            break
        match, make = best
        one = make(match)
        place = match.end()
        if one is not None:
            found.append(one)
            place = one.end
    return list(_inherited(text, found))


def _near(one: tuple[float | None, ...], two: tuple[float | None, ...]) -> bool:
    first, second = one[0] or 0.0, two[0] or 0.0
    return abs(first - second) <= 1e-9 * max(1.0, abs(first), abs(second))


def _same_date(one: tuple[float | None, ...], two: tuple[float | None, ...]) -> bool:
    return all(mine is None or mine == theirs for mine, theirs in zip(one, two, strict=True))


def _as_full(one: tuple[float | None, ...], two: tuple[float | None, ...]) -> bool:
    return all(mine is None or theirs is not None for mine, theirs in zip(one, two, strict=True))


def _inherited(text: str, found: list[Quantity]) -> Iterator[Quantity]:
    """In "from 38.6 to 41.3 million euros" the first has the unit, and perhaps the scale, of the second."""
    for one, two in zip(found, [*found[1:], None], strict=False):
        between = text[one.end : two.start] if two else ""
        if two is None or one.kind != "number" or one.unit or not re.fullmatch(r"\s*(?:to|and|or|-|–)\s*", between):
            yield one
        elif two.kind == "number":
            scale = _scale_of(text[two.start : two.end]) * (_UNITS.get(_unit_name(text[two.start : two.end]), ("", 1.0))[1])
            yield replace(one, unit=two.unit, values=one.values | {((value[0] or 0) * scale,) for value in one.values})
        elif two.kind == "date":
            yield replace(one, kind="date", values=frozenset((y, m, d[0]) for y, m, _ in two.values for d in one.values))
        else:
            yield one


def _scale_of(text: str) -> float:
    found = re.search(rf"(?:{_SCALE})\b", text, re.IGNORECASE)
    return _SCALES[found.group().lower()] if found else 1.0


def _unit_name(text: str) -> str:
    last = text.lower().split()[-1:] or [""]
    return last[0]


def _readings(written: str) -> set[float]:
    """The values that digits may have: 1.500 is 1500 and, where it is so meant, 1.5."""
    compact = re.sub(r"['\u00a0\u202f ]", "", written)
    if compact.count(",") + compact.count(".") == 0:
        return {float(compact)}
    groups = re.split(r"[.,]", compact)
    marks = re.findall(r"[.,]", compact)
    if len(set(marks)) == 2:
        return {float("".join(groups[:-1]) + "." + groups[-1])}
    if len(marks) > 1:
        return {float("".join(groups))}
    decimal = float(f"{groups[0]}.{groups[1]}")
    if len(groups[1]) == 3 and groups[0] not in ("", "0") and len(groups[0]) <= 3:
        return {float("".join(groups))} if marks[0] == "," else {float("".join(groups)), decimal}
    return {decimal}


def _number(match: re.Match[str]) -> Quantity | None:
    text, end = match.string, match.end()
    digits, word = match.group("digits"), match.group("word")
    if word and word.lower() == "one" and (not _COUNTED.match(text, end) or _POINTING.search(text[: match.start()])):
        return None
    values = _readings(digits) if digits else {sum(_WORDS[part] for part in re.split(r"[-\s]", word.lower()))}
    scale = re.compile(rf"\s?(?:{_SCALE})(?![\w/³²])|\s(?:hundred|thousand|million|billion)\b", re.IGNORECASE).match(text, end)
    # "1.20 m high" is metres, "6 m euros" is rare: a bare m counts as million only behind a sign of money.
    before = text[: match.start()].rstrip()
    money = re.search(r"(€|\$|£|\b(?:EUR|USD|GBP|CHF|NOK|SEK|DKK))$", before)
    if scale and not (scale.group().strip() == "m" and not money):
        factor = _SCALES[scale.group().strip().lower()]
        values, end = {value * factor for value in values}, scale.end()
    if re.search(r"(?:\bminus|(?:^|\s)[-−])\s?$", text[: match.start()], re.IGNORECASE):
        values = {-value for value in values}
    unit, factor, end = _unit(text, end)
    if not unit and money:
        unit, factor = _UNITS[money.group(1).lower()]
    start = match.start() - (len(text[: match.start()]) - money.start() if money else 0)
    return Quantity("number", frozenset((value * factor,) for value in values), start, end, unit, frozenset(values))


def _unit(text: str, place: int) -> tuple[str, float, int]:
    for pattern, name in _PHRASES:
        if found := re.compile(rf"\s*(?:{pattern})", re.IGNORECASE).match(text, place):
            return (*_UNITS[name], found.end())
    found = re.compile(r"\s?(%|€|\$|£)|[\s-]?(?:(?:working|further|full|calendar|more)\s)?([A-Za-z]+[²³23]?)(?![\w])").match(
        text, place
    )
    if found is None:
        return "", 1.0, place
    name = found.group(1) or found.group(2)
    if name == "m":
        return "length", 1000.0, found.end()
    if name in ("bar", "W", "V", "g", "l", "h", "s") or (name.lower() in _UNITS and len(name) > 1) or found.group(1):
        return (*_UNITS[name.lower()], found.end())
    if _SYMBOL.fullmatch(name):
        return f"symbol {name}", 1.0, found.end()
    return "", 1.0, place


_SYMBOL = re.compile(r"[a-zµ]{1,2}[A-Z]\w{0,3}|[A-Z]{2,4}")
"""How units are written that are not in the table: kVA, CFU."""


def _nth(match: re.Match[str]) -> Quantity | None:
    word = match.group("nth").lower()
    value = _NTH.get(word) or float(re.sub(r"\D", "", word) or 0)
    return Quantity("nth", frozenset({(value,)}), match.start(), match.end())


def _times(match: re.Match[str]) -> Quantity:
    return Quantity("number", frozenset({({"once": 1.0, "twice": 2.0}[match.group().lower()],)}), *match.span(), "times")


def _clock(match: re.Match[str]) -> Quantity:
    hour, minute, half = match.group("hour"), match.group("minute"), (match.group("half") or "").lower().replace(".", "")
    hours = int(hour) % 12 + 12 * (half == "pm") if half else int(hour)
    return Quantity("time", frozenset({(float(hours * 60 + int(minute or 0)),)}), *match.span())


def _month(name: str) -> float:
    return 1.0 + next(number for number, month in enumerate(_MONTHS) if month.startswith(name.lower()[:3]))


def _date(match: re.Match[str], order: str) -> Quantity | None:
    parts = dict(zip(order, match.groups(), strict=True))
    year = float(parts["y"]) if parts.get("y") else None
    day = float(parts["d"]) if parts.get("d") else None
    month = _month(parts["m"]) if parts["m"][0].isalpha() else float(parts["m"])
    if month > 12 and day is not None:
        month, day = day, month
    values = {(year, month, day)}
    if "/" in match.group() and day is not None and day <= 12:
        values.add((year, day, month))
    return Quantity("date", frozenset(values), *match.span())


def _year(match: re.Match[str]) -> Quantity | None:
    if _unit(match.string, match.end())[0] or re.match(
        r"\s(?:hundred|thousand|million|billion)\b", match.string[match.end() :]
    ):
        return _number(next(_NUMBER.finditer(match.string, match.start())))
    return Quantity("date", frozenset({(float(match.group()), None, None)}), *match.span())


def _weekday(match: re.Match[str]) -> Quantity:
    return Quantity("weekday", frozenset({(float(_DAYS.index(match.group(1).lower())),)}), *match.span())


def _fraction(match: re.Match[str]) -> Quantity:
    many = {"one": 1.0, "two": 2.0, "three": 3.0}.get((match.group("many") or "one").lower(), 1.0)
    value = many * FRACTIONS[match.group("part").lower()]
    if match.group("unit"):
        unit, factor = _UNITS[match.group("unit").lower()]
        return Quantity("number", frozenset({(value * factor,)}), *match.span(), unit)
    return Quantity("fraction", frozenset({(value,)}), *match.span())


def _month_alone(match: re.Match[str]) -> Quantity:
    group = 1 if match.group(1) else 2
    return Quantity("date", frozenset({(None, _month(match.group(group)), None)}), *match.span(group))


_NUMBER = re.compile(rf"(?<![\w.])(?:(?P<digits>{_PLAIN})|(?P<word>{_WORD})\b)", re.IGNORECASE)
_YEAR = r"((?:19|20)\d\d)"
_LONG_MONTH = "|".join(month.title() for month in _MONTHS if month != "may")
_HOUR, _MINUTE = r"(?<![\w:])(?P<hour>[01]?\d|2[0-4])", r":(?P<minute>[0-5]\d)"
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Quantity | None]], ...] = (
    (re.compile(rf"(?<![\w-]){_YEAR}-(\d\d)-(\d\d)(?![\w-])"), partial(_date, order="ymd")),
    (re.compile(rf"(?<![\w.])(\d{{1,2}})[./](\d{{1,2}})[./]{_YEAR}(?!\w)"), partial(_date, order="dmy")),
    (re.compile(rf"(?<!\w){_DAY}\s(?:of\s)?({_MONTH})\b(?:,?\s{_YEAR}\b)?"), partial(_date, order="dmy")),
    (re.compile(rf"\b({_MONTH})\s{_DAY}(?!\w)(?:,?\s{_YEAR}\b)?"), partial(_date, order="mdy")),
    (re.compile(rf"\b({_MONTH}),?\s{_YEAR}\b"), partial(_date, order="my")),
    # May is a month only where a word before it says so.
    (
        re.compile(rf"\b(?:in|by|until|from|since|of|and|or|before|after|to|every|each)\s(May)\b|\b({_LONG_MONTH})\b"),
        _month_alone,
    ),
    (re.compile(rf"\b({'|'.join(_DAYS)})s?\b", re.IGNORECASE), _weekday),
    (re.compile(rf"{_HOUR}(?:{_MINUTE})?\s?(?P<half>[ap]\.?m\b)", re.IGNORECASE), _clock),
    (re.compile(rf"{_HOUR}{_MINUTE}(?P<half>(?!\w))(?![:\d])"), _clock),
    (re.compile(r"(?<![\w.,-])(?:19|20)\d\d(?!\w|[.,]\d|-\d)"), _year),
    (re.compile(rf"\b(?P<nth>{'|'.join(_NTH)}|\d{{1,3}}(?:st|nd|rd|th))\b", re.IGNORECASE), _nth),
    (re.compile(r"\b(?:once|twice)\b", re.IGNORECASE), _times),
    (
        re.compile(
            r"\b(?:(?P<many>one|two|three|a)\s)?(?P<part>half|thirds?|quarters?)(?:\san?\s(?P<unit>hour|day|year))?\b(?!-)",
            re.IGNORECASE,
        ),
        _fraction,
    ),
    (_NUMBER, _number),
)
