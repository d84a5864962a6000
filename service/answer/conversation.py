"""What a follow-up question refers back to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from service.runtimes.interface import Turn
from vectorstore.lexical.analysis import query_terms

_REFERRING = re.compile(
    r"\b(?:it|its|they|them|their|theirs|he|him|his|she|her|hers|this|that|these|those|there|then|one|ones|same|such|former"
    r"|latter|else|other|another)\b",
    re.IGNORECASE,
)
_CONTINUING = re.compile(
    r"\s*(?:and|but|or|so|then|also|what about|how about|what if|why|how so|since when|until when|for how long|anything)\b",
    re.IGNORECASE,
)
_FEW_TERMS = 2
"""A question of fewer terms than this names no subject of its own."""


def standalone(question: str, history: Sequence[Turn]) -> str:
    """The question with the one before it, where it has no subject of its own: it begins as a continuation, refers to
    something by a pronoun, or holds hardly a term. Any other question, and the first of a conversation, stays as it is.

    Where the one before has no term at all, as "Why?" has none, the one before that is added too, and so on. To add more,
    or the answers, finds less (bench/conversations.py).
    """
    if not _depends(question):
        return question
    added: list[str] = []
    for turn in reversed(history):
        if turn.role != "user":
            continue
        added.insert(0, turn.content)
        if query_terms(turn.content):
            break
    return " ".join([*added, question])


def _depends(question: str) -> bool:
    return bool(_CONTINUING.match(question) or _REFERRING.search(question) or len(query_terms(question)) < _FEW_TERMS)
