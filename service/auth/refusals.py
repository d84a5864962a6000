"""Refused credentials in the log: each kind once a minute with its count, so that nobody fills the log by being refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from policies.audit.events import EventTag
from policies.identity import SYSTEM_ID

_PAUSE_SECONDS = 60.0


class Refusals:
    """Counts refusals by carrier and reason. Reasons come from a closed list, so there are few. Safe for threads."""

    def __init__(
        self,
        record: Callable[[EventTag, str, Mapping[str, Any]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], tuple[float, int]] = {}

    def note(self, carrier: str, reason: str, peer: str | None) -> None:
        """Records a refusal, unless the same was recorded less than a minute ago: then it is counted in the next record.
        Raises AuditUnavailable."""
        with self._lock:
            last, missed = self._counts.get((carrier, reason), (None, 0))
            now = self._clock()
            if last is not None and now - last < _PAUSE_SECONDS:
                self._counts[carrier, reason] = (last, missed + 1)
                return
            self._counts[carrier, reason] = (now, 0)
        told = {"carrier": carrier, "reason": reason, "times": missed + 1, "peer": peer}
        self._record(EventTag.CREDENTIAL_REFUSED, SYSTEM_ID, told)
