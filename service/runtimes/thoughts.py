"""What a thinking model says to itself is not part of its answer."""

from __future__ import annotations

import re

_THINK = re.compile(r"<think>.*?(</think>\s*|$)", re.DOTALL)


class Visible:
    """Leaves out what stands between <think> and </think>, however packets cut the tags."""

    def __init__(self) -> None:
        self._pending = ""

    def add(self, text: str) -> str:
        """What can be shown now."""
        whole = _THINK.sub(lambda found: "" if found.group(1) else found.group(0), self._pending + text)
        opened = whole.find("<think>")
        if opened < 0:
            opened = next((len(whole) - n for n in range(min(6, len(whole)), 0, -1) if "<think>".startswith(whole[-n:])), -1)
        shown, self._pending = (whole, "") if opened < 0 else (whole[:opened], whole[opened:])
        return shown

    def rest(self) -> str:
        """What was held back and is no thought."""
        return "" if self._pending.startswith("<think>") else self._pending
