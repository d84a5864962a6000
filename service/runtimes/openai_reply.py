"""One answer in OpenAI's protocol: how it is asked for, its text in chunks, why it ended, how much was read of the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from policies.errors import ModelUnavailable
from service.runtimes.interface import End
from service.runtimes.patience import Patience
from service.runtimes.thoughts import Visible
from service.runtimes.window import ESTIMATED_SHARE

_COUNTED_SHARE = 0.9
"""Of a prompt whose tokens were counted a server reads nearly all; the template may differ by some tokens."""

_SEED = 7

NO_THINKING: Mapping[str, bool] = {"enable_thinking": False}
"""What the chat templates of thinking models understand; the same for counting and for answering, or the counts differ."""

_REASONS: Mapping[str, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}


def chat_body(
    messages: Sequence[Mapping[str, str]],
    *,
    answer_tokens: int,
    templates: bool,
    answer_schema: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What asks for a streamed answer. `templates` says that the server is known to pass words on to the chat template: others
    refuse fields that they do not know. With `answer_schema`, a JSON schema, the answer is JSON that it allows."""
    body: dict[str, Any] = {
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": answer_tokens,
        "temperature": 0,
        "seed": _SEED,
    }
    if templates:
        body["chat_template_kwargs"] = dict(NO_THINKING)
    if answer_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": dict(answer_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


class Reply:
    """Takes the chunks of one answer in order."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._visible = Visible()
        self._reason: str | None = None
        self._read = 0
        self._written = 0

    def add(self, chunk: Mapping[str, Any]) -> str:
        """What can be shown of a chunk; thoughts are not shown, wherever they stand."""
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self._read = int(usage.get("prompt_tokens") or 0)
            self._written = int(usage.get("completion_tokens") or 0)
        text = ""
        for choice in (chunk.get("choices") or [])[:1]:
            self._reason = choice.get("finish_reason") or self._reason
            delta = choice.get("delta") or {}
            text = str(delta.get("content") or "")
            if text or delta.get("reasoning_content") or delta.get("reasoning"):
                self._patience.begin()
        return self._visible.add(text)

    def rest(self) -> str:
        """What was held back at the end."""
        return self._visible.rest()

    def end(self, prompt_tokens: int, *, counted: bool) -> End:
        """The end of the answer to a prompt of so many tokens. Raises ModelUnavailable where the model did not say that it
        had ended, or had read less than the prompt."""
        if self._reason is None:
            raise ModelUnavailable("the model broke off in the middle of its answer", hint="Ask again; see the server's log.")
        # Zero is what some servers report that count nothing.
        if self._read and self._read < (_COUNTED_SHARE if counted else ESTIMATED_SHARE) * prompt_tokens:
            raise ModelUnavailable(
                f"the model server cut the prompt: it read {self._read} tokens",
                hint="Set runtime.context_tokens to the window that the server has loaded the model with.",
            )
        reason = _REASONS.get(self._reason)
        if reason is None:
            raise ModelUnavailable(f"the model ended without an answer ({self._reason})", hint="Ask again.")
        return End(reason, self._read, self._written)
