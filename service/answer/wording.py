"""Which words say the same, which say the opposite, and which forbid, oblige, or speak of all or of some."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from functools import cache, lru_cache

from vectorstore.lexical.analysis import terms

_SAME = """
employee employees staff worker workers personnel
begin begins began begun commence commences commenced start starts started starting
end ends ended finish finishes finished
buy buys bought purchase purchases purchased acquire acquires acquired acquisition
year years yearly annual annually
month months monthly
week weeks weekly
day days daily
pay pays paid payment payments
cost costs price prices priced
keep keeps kept retain retains retained store stored
hold holds held
give gives gave given grant granted provide provides provided
get gets got obtain obtains obtained receive receives received
tell tells told inform informs informed notify notified
say says said state states stated
need needs needed require requires required
request requests requested
build builds built
make makes made
sell sells sold
lend lends lent
leave leaves left
lead leads led
take takes took taken
write writes wrote written
go goes went gone
rise rises rose risen increase increases increased grow grows grew grown growth
fall falls fell fallen decrease decreases decreased drop drops dropped decline declined
show shows showed shown display displays displayed
send sends sent
choose chooses chose chosen choice choices select selected
meet meets met
speak speaks spoke spoken
work works worked working
possible possibly
allow allows allowed permit permits permitted permission
forbid forbids forbidden forbade prohibit prohibits prohibited ban banned
next following
additional further extra
free gratis
child children
person persons people
woman women
man men
large larger largest big bigger biggest
reason cause caused causes
worth value values valued
help helps helped
find finds found
replace replaces replaced
fill fills filled
remote remotely
stay stays stayed remain remains remained
decide decides decided decision decisions
submit submits submitted hand hands handed
use uses used utilise utilised
check checks checked verify verifies verified
perform performs performed conduct conducts conducted
repair repairs repaired fix fixes fixed
ill illness sick sickness
doctor doctors physician physicians
charge charges charged fee fees
reduce reduces reduced reduction
refuse refuses refused refusal
propose proposes proposed proposal proposals
lose loses lost loss losses
know knows knew known knowledge
produce produces produced production
destroy destroys destroyed destruction
maintain maintains maintained maintenance
describe describes described description
fail fails failed failure failures
analyse analyses analysed analysis
succeed succeeds succeeded success
respond responds responded response
apply applies applied application applications
agree agrees agreed agreement
"""
_LIGHT = """
according accordingly additionally furthermore moreover therefore hence thus specifically generally currently present presently
now already still yet even case cases mention mentions mentioned note notes noted document documents source sources passage
text respectively approximately about around roughly allow forbid possible able ahead longer long take place
necessary sure example moreover besides overall well way like become becomes total cause reason
"""
_LEADING = """
short brief summary summarise sum answer question follow say state give point list relevant base find yes finally conclusion
"""
_OPPOSITES = """
increase/decrease rise/fall above/below over/under before/after minimum/maximum more/less more/fewer open/closed opened/closed
accept/refuse accept/reject approve/reject grant/refuse include/exclude early/late earlier/later begin/end start/stop
high/low higher/lower highest/lowest large/small larger/smaller largest/smallest long/short longer/shorter lengthen/shorten
extend/shorten old/new older/younger wide/narrow wider/narrower better/worse best/worst positive/negative profit/loss
inside/outside internal/external lend/borrow buy/sell win/lose pass/fail present/absent enable/disable
valid/invalid possible/impossible available/unavailable safe/unsafe much/little many/few men/women man/woman mandatory/optional
voluntary/mandatory warm/cold hot/cold wet/dry upper/lower add/remove raise/lower strengthen/weaken faster/slower public/private
present/excused heat/cool gain/lose even/odd left/right announced/unannounced paid/unpaid day/night full/empty often/rarely
dearer/cheaper tighten/loosen known/unknown wanted/unwanted complete/incomplete eligible/ineligible
minimum/most maximum/least least/most
alone/together temporary/permanent fixed/variable north/south east/west import/export supply/demand
debit/credit deposit/withdrawal success/failure healthy/ill admit/refuse arrive/depart arrival/departure connect/disconnect
correct/wrong correct/incorrect same/different agree/disagree fast/slow strong/weak thick/thin deep/shallow heavy/light near/far
clean/dirty majority/minority surplus/deficit buyer/seller employer/employee lender/borrower landlord/tenant summer/winter
spring/autumn morning/evening domestic/foreign manual/automatic wired/wireless primary/secondary senior/junior active/inactive
visible/invisible sufficient/insufficient mild/severe acute/chronic horizontal/vertical front/back top/bottom inlet/outlet
input/output entry/exit entrance/exit hire/dismiss encourage/discourage approve/deny confirm/deny keep/destroy keep/discard
succeed/fail predecessor/successor lock/unlock load/unload install/uninstall true/false right/wrong legal/illegal
"""
_NEGATIVE = (
    r"not|no|never|nobody|none|nothing|neither|nor|cannot|without|except|unless|nowhere|hardly|\w+n['’]t"
    r"|forbid|forbids|forbidden|prohibits?|prohibited|banned"
)
_NEGATION = re.compile(rf"\b(?:{_NEGATIVE})\b", re.IGNORECASE)
OBLIGATION = re.compile(
    r"\b(?:must|have to|has to|had to|shall|obliged|required|mandatory|compulsory|obligatory)\b", re.IGNORECASE
)
PERMISSION = re.compile(r"\b(?:may|can|could|might|allowed|permitted|possible|optional|free to|entitled)\b", re.IGNORECASE)
UNIVERSAL = re.compile(r"\b(?:all|every|each|always|any|both|everyone|everybody|entire|only|alone)\b", re.IGNORECASE)
PARTIAL = re.compile(r"\b(?:some|most|several|sometimes|few|partly|mostly|often|usually|half|two of|one of)\b", re.IGNORECASE)

_BEFORE_UP = (
    r"at least|(?:a )?minimum of|(?:no|not) (?:less|fewer) than|\w+er than|more than|above|over|beyond|exceed(?:s|ing)?|from"
)
_BEFORE_DOWN = (
    r"at most|up to|(?:a )?maximum of|(?:no|not) more than|less than|fewer than|below|under|within|younger than|narrower than|"
    r"smaller than|shorter than|lower than|cheaper than|earlier than"
)
BOUND_BEFORE = re.compile(rf"\b(?:(?P<down>{_BEFORE_DOWN})|(?P<up>{_BEFORE_UP}))\s+(?:a |an |the |age of )?$", re.IGNORECASE)
BOUND_AFTER = re.compile(
    r"\s*(?:\w+\s){0,2}?(?:(?P<up>or (?:more|older|longer|larger|higher|above)|and (?:more|above)|upwards|at least"
    r"|on\b(?=[\s,.;]|$))|(?P<down>at (?:the )?most|or (?:less|fewer|younger|under|below)|and (?:less|below)))",
    re.IGNORECASE,
)
_BOUND_WITH_NEGATION = re.compile(r"\b(?:no|not)(?= (?:more|less|fewer) than\b)|\bnot(?= only\b)|\bno(?=\. ?\d)", re.IGNORECASE)


_BOUNDS = frozenset(("least", "minimum", "maximum", "upwards", "exceed", "exceeds", "exceeding"))
"""Words that only bound a number, which is compared with it."""

_SYNONYMS = {word: line.split()[0] for line in _SAME.strip().splitlines() for word in line.split()}


@lru_cache(maxsize=20_000)
def key(word: str) -> str:
    """What a word is compared by: its stem, or the first of the words that say the same; empty for one without content."""
    bare = re.sub(r"['’]s?$", "", word.lower())
    if bare in _SYNONYMS:
        return _SYNONYMS[bare]
    found = [] if bare in _BOUNDS else terms(bare)
    return _stems().get(found[0], found[0]) if found else ""


def is_light(term: str) -> bool:
    """Whether a term says nothing of its own, so that a source need not hold it."""
    return term in _light()


def leads_over(term: str) -> bool:
    """Whether a term, without others, only leads over to what comes next."""
    return term in _light() or term in _leading()


def senses(words: Iterable[str]) -> frozenset[str]:
    """What the words of a clause are, function words among them, to look for opposites."""
    return frozenset(_sense(word) for word in words)


def opposed(one: Set[str], two: Set[str]) -> list[tuple[str, str]]:
    """Pairs of opposites of which one clause has the first alone and the other the second alone."""
    pairs = _pairs()
    return [(word, other) for word in one - two for other in pairs.get(word, ()) if other in two and other not in one]


def negations(clause: str) -> int:
    """How many words of a clause turn its sense round; those of "no more than" bound a number instead."""
    return len(_NEGATION.findall(_BOUND_WITH_NEGATION.sub("", clause)))


def first_negation(clause: str) -> int | None:
    """Where in a clause the first of them stands."""
    found = _NEGATION.search(_BOUND_WITH_NEGATION.sub(lambda match: " " * len(match.group()), clause))
    return found.start() if found else None


@cache
def _light() -> frozenset[str]:
    return frozenset(key(word) for word in _LIGHT.split())


@cache
def _leading() -> frozenset[str]:
    return frozenset(key(word) for word in _LEADING.split())


@cache
def _stems() -> dict[str, str]:
    stems: dict[str, str] = {}
    for word, first in _SYNONYMS.items():
        stems.setdefault((terms(word) or [word])[0], first)
    return stems


@cache
def _pairs() -> dict[str, set[str]]:
    pairs: dict[str, set[str]] = {}
    for pair in _OPPOSITES.split():
        one, two = (_sense(word) for word in pair.split("/"))
        pairs.setdefault(one, set()).add(two)
        pairs.setdefault(two, set()).add(one)
    return pairs


def _sense(word: str) -> str:
    return key(word) or word.lower()
