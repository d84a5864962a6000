"""What is not answered: too little evidence, a number or a name that is nowhere, no answer of the kind that was asked for; and
what is no part of the answer: titles."""

from __future__ import annotations

from dataclasses import fields

import pytest

from made import passage
from service.answer.abstain import FAR_ABOVE, THRESHOLD, Proceed, Refuse, judge
from service.runtimes.expected import holds_only_names, numbered_names_held, requirement
from service.runtimes.extractive import ENOUGH, ExtractiveRuntime
from service.runtimes.interface import AnswerRequest, Source
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.lexical.analysis import query_terms
from vectorstore.types import Hit

PRICES = "The ultrasonic meter HM-40 costs 72.00 euros. The optical head costs 118.00 euros."
FAIR = "The meter HM-80 is shown at the fair in Gothenburg in October 2026."


def hit(score: float, text: str, title: str = "") -> Hit:
    """A hit all of whose scores are the same."""
    return Hit(**{**{one.name: score for one in fields(Hit)}, "passage": passage(text, title=title)})  # type: ignore[arg-type]


def weights(question: str) -> dict[str, float]:
    return dict.fromkeys(query_terms(question), 1.0)


def request(question: str, *texts: str, score: float = 0.5) -> AnswerRequest:
    sources = [Source(number, passage(text), score) for number, text in enumerate(texts, 1)]
    return AnswerRequest(question, sources, weights(question), (), 2)


def quoted(question: str, *texts: str, score: float = 0.5) -> list[str]:
    quotes = ExtractiveRuntime(HashingEmbedder()).choose(request(question, *texts, score=score))
    return [texts[one.number - 1][one.start : one.end] for one in quotes]


def evidence(question: str, *texts: str, score: float = 0.5) -> float:
    return ExtractiveRuntime(HashingEmbedder()).weigh(request(question, *texts, score=score))[0]


def test_nothing_found_is_nothing_to_answer_from() -> None:
    assert judge("How long is the warranty?", []) == Refuse("nothing was found that this person may read")


def test_a_score_under_the_threshold_is_refused_and_one_at_it_is_not() -> None:
    question = "How long is the warranty?"
    at = hit(THRESHOLD, "The warranty is five years.")
    under = hit(THRESHOLD - 0.001, "The warranty is five years.")
    assert isinstance(judge(question, [at]), Proceed)
    assert isinstance(judge(question, [under]), Refuse)
    assert isinstance(judge(question, [under], 0.0), Proceed)
    assert isinstance(judge(question, [at], 0.9), Refuse)


def test_a_sentence_that_holds_the_question_speaks_for_an_answer_that_the_score_alone_would_not() -> None:
    question, low = "When is the general meeting held?", 0.33
    meeting = "The general meeting is held in April."
    assert quoted(question, meeting, score=low) == [meeting]
    assert quoted(question, "The shares are held by families and others, a few by the town.", score=low) == []


def test_words_that_only_the_whole_passage_holds_count_less_than_those_of_one_sentence() -> None:
    question = "When is the general meeting held?"
    together = evidence(question, "The general meeting is held in April. It rains in May.")
    assert together > evidence(question, "The general rains in April. A meeting was in May. It was held up.")


def test_all_the_evidence_there_can_be_is_one() -> None:
    assert evidence("general meeting", "general meeting", score=1.0) == pytest.approx(1.0, abs=1e-5)
    assert evidence("general meeting", score=1.0) == 0.0
    assert 0 < ENOUGH < 1


def test_a_name_with_a_number_that_no_passage_holds_is_refused_whatever_the_evidence() -> None:
    question = "Who supplies the transducers of the HM-90?"
    found = hit(0.9, "Who supplies the transducers of the HM-40 is written here.")
    assert judge(question, [found]) == Refuse("no passage holds HM-90")
    assert isinstance(judge(question, [hit(0.9, found.passage.text, title="HM 90")]), Proceed)


def test_a_bare_number_that_no_passage_holds_may_be_a_detail_of_a_well_supported_answer() -> None:
    question = "How many days of leave are there in 2027?"
    text = "There are 30 days of leave."
    assert isinstance(judge(question, [hit(THRESHOLD + FAR_ABOVE, text)]), Proceed)
    near = hit(THRESHOLD + FAR_ABOVE - 0.01, text)
    assert judge(question, [near]) == Refuse("no passage holds 2027")


@pytest.mark.parametrize(
    ("question", "text", "only"),
    [
        ("Who founded Halden Instruments?", "Halden Instruments builds water meters.", True),
        ("Who founded Halden Instruments?", "The founding of the works was in 1921.", False),
        ("Who founded Halden Instruments?", "Nothing of it.", True),
        ("who founded it?", "Halden Instruments builds water meters.", False),
        ("Halden?", "Halden Instruments builds water meters.", False),
        ("What does the HM-80 weigh?", "The HM-80 is shown in October.", True),
    ],
)
def test_passages_that_hold_only_the_names_of_a_question_are_told(question: str, text: str, only: bool) -> None:
    assert holds_only_names(question, [passage(text)]) is only


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("How many people work here?", "Some 312 people work here.", "People work here."),
        ("How many people work here?", "Several people work here.", "The people of the works."),
        ("What is the price of the HM-80?", "The HM-80: 72.00", "The HM-80 is shown in October 2026."),
        ("What is the price of the HM-80?", "The HM-80 costs 72 euros.", "The HM-80 counts up to 3 percent too little."),
        ("How high is the bonus?", "The bonus is 8 percent of the salary.", "The bonus comes with the salary."),
        ("How much does a place cost?", "A place is free of charge.", "There are 18 places."),
        ("What is the name of the certification body?", "The body is Nemko.", "The certification body comes in October."),
        ("What are the names of the pilot customers?", "They are Oslo and Bergen.", "Three pilot customers begin on Monday."),
    ],
)
def test_a_question_requires_its_kind_of_answer(question: str, right: str, wrong: str) -> None:
    required = requirement(question)
    assert required is not None
    assert required(right)
    assert not required(wrong)


@pytest.mark.parametrize("question", ["Who may order?", "How much of the train card is paid?", "What drove up the costs?"])
def test_other_questions_require_nothing(question: str) -> None:
    assert requirement(question) is None


def test_another_model_s_price_does_not_stand_in() -> None:
    question = "What does the HM-80 cost?"
    assert quoted(question, FAIR, PRICES) == []
    assert quoted(question, FAIR, PRICES.replace("HM-40", "HM-80"))[0].startswith("The ultrasonic meter HM-80 costs 72.00")
    assert numbered_names_held(question, passage(PRICES)) == 0


def test_an_amount_of_something_else_does_not_stand_in_for_one_that_is_mentioned_and_not_said() -> None:
    question = "How high is the monthly rate of a leased bicycle?"
    mentioned = "You can lease a bicycle, and the monthly rate is taken from your gross pay."
    limit = "The price of a leased bicycle is at most 6000 euros."
    assert quoted(question, f"{mentioned} {limit}") == []
    assert quoted(question, f"{mentioned} The monthly rate of a bicycle is 90 euros.") != []


def test_names_alone_are_not_quoted_where_no_sentence_is_near() -> None:
    question = "Who founded Halden Instruments?"
    far = "In the south-east of Norway, Halden Instruments develops and builds meters for water, with people of many lands."
    assert quoted(question, far) == []
    near = "Halden Instruments founders: Ole Dahl founded Halden Instruments."
    assert quoted(question, near) == [near]


def test_a_sentence_is_found_by_the_title_above_it_and_quoted_without() -> None:
    said = "The first five hours go to the time account, every further hour is paid."
    text = f"The week has 37.5 hours.\nOvertime\n{said}\nStandby\nEngineers on standby get 45 euros for each night."
    assert quoted("What is said about overtime?", text, score=0.9) == [said]
    assert quoted("What do engineers on standby get for each night?", text, score=0.9)[0].startswith("Engineers")
