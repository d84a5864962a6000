"""What fits into a model's context window: whole passages, never a cut one."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence

from policies.errors import ModelUnavailable
from service.runtimes.interface import AnswerRequest

_BYTES_PER_TOKEN = 2.0
"""Fewer bytes a token than any tokenizer in use takes for running text, so that the estimate errs on the safe side."""

_MESSAGE_TOKENS = 24
"""What a chat template adds to each message, generously."""

ESTIMATED_SHARE = 0.25
"""The estimate is at most some four times too high for plain text; a count below this share of it means a cut prompt."""


def estimated_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """How many tokens chat messages are at most, where nobody can count them."""
    size = sum(len(one["content"].encode()) for one in messages)
    return int(size / _BYTES_PER_TOKEN) + _MESSAGE_TOKENS * len(messages)


async def fitted(
    request: AnswerRequest, count: Callable[[AnswerRequest], Awaitable[int]], *, window: int, answer_tokens: int
) -> AnswerRequest:
    """The request with as many of its sources, best first, as leave room for the longest answer in a window of so many
    tokens. `count` says how many tokens a request's prompt has. Raises ModelUnavailable where the question alone does not
    fit."""

    def first(number: int) -> AnswerRequest:
        return request if number == len(request.sources) else dataclasses.replace(request, sources=request.sources[:number])

    room = window - answer_tokens
    if await count(request) <= room:
        return request
    fits, too_many = -1, len(request.sources)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if await count(first(middle)) <= room:
            fits = middle
        else:
            too_many = middle
    if fits < 0:
        raise ModelUnavailable(
            f"the question does not fit into the model's window of {window} tokens",
            hint="Ask more briefly, or raise runtime.context_tokens.",
        )
    return first(fits)
