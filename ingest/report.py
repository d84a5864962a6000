"""What a run did, as it is kept, shown and printed as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

FORM = 1
"""The version of the JSON form."""

Outcome = Literal["running", "finished", "interrupted", "stopped", "failed"]


@dataclass(slots=True)
class RunReport:
    """Counts of one run. Each file found is in exactly one of `added`, `changed`, `unchanged`, `relabelled`,
    `quarantined`, and `collections`, but for those that a run which was stopped or failed did not come to; the lines of
    collections are counted in `records` in the same words. What is counted as added or changed is in the index, and what is
    counted as held still is: it was to be removed, and is under legal hold."""

    id: str
    source: str
    started: str
    ended: str | None = None
    outcome: Outcome = "running"
    dry_run: bool = False
    found: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    relabelled: int = 0
    quarantined: int = 0
    collections: int = 0
    removed: int = 0
    held: int = 0
    passages: int = 0
    seconds: float = 0.0
    records: dict[str, int] = field(default_factory=dict)
    refusals: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The versioned JSON form."""
        return {"version": FORM, **asdict(self)}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> RunReport:
        """Reads what `to_json` wrote."""
        names = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in said.items() if name in names})

    def count(self, outcome: Literal["added", "changed", "unchanged", "relabelled"]) -> None:
        """Counts one file."""
        setattr(self, outcome, getattr(self, outcome) + 1)

    def refuse(self, path: str, reason: str, detail: str) -> None:
        """Counts a file among the quarantined, with why."""
        self.quarantined += 1
        self.refusals.append({"path": path, "reason": reason, "detail": detail})

    def count_record(self, outcome: str) -> None:
        """Counts one line of a collection."""
        self.records[outcome] = self.records.get(outcome, 0) + 1
