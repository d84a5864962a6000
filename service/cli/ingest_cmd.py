"""`inhouse ingest`: folders into the index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from policies.errors import Interrupted, PartialFailure, UsageError
from service.cli._common import AsOption, ConfigOption, DataOption, JsonOption, absolute, directory_of, perform
from service.cli.display import say, say_json
from service.cli.meter import meter

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders to index.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="Label rules; else labels.toml in the folder.")
    ] = None,
    init_labels: Annotated[
        bool, typer.Option("--init-labels", help="Write a first labels.toml into the folder, and stop.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove documents whose file is gone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Prune even if more than a third would go.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; parse and write nothing.")] = False,
    as_person: AsOption = None,
    json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Index folders: what is new or changed is parsed, labelled, embedded and committed; the rest costs a look. Exit code 5
    means that all ran and some files are in quarantine."""
    if init_labels:
        _init_labels(paths, data, config)
        return
    reports = []
    for path in paths:
        request: dict[str, Any] = {
            "folder": str(absolute(path)),
            "labels": str(absolute(labels)) if labels else None,
            "prune": prune,
            "confirmed": yes,
            "dry_run": dry_run,
            "as_person": as_person,
        }
        with meter(described, shown=not json) as take:
            report = perform(data, config, "ingest", request, emit=take)["run"]
        reports.append(report)
        if json:
            say_json(report)
        else:
            show_report(report)
        if report["outcome"] in ("interrupted", "stopped"):
            raise Interrupted("stopped; what was committed is kept", hint="Run the same command again to go on.")
    quarantined = sum(report["quarantined"] + report["records"].get("quarantined", 0) for report in reports)
    held = sum(report["held"] for report in reports)
    if held and not quarantined:
        raise PartialFailure(f"{held} to be removed are under legal hold and were kept", hint="inhouse documents labels ID")
    if quarantined:
        raise PartialFailure(f"{quarantined} in quarantine", hint="inhouse quarantine list")


def show_report(report: Mapping[str, Any]) -> None:
    """A report as text."""
    would = "Would have: " if report["dry_run"] else ""
    words = ("added", "changed", "unchanged", "relabelled", "quarantined", "collections")
    counts = ", ".join(f"{report[word]} {word}" for word in words if report[word])
    say(f"{would}{report['found']} files in {report['source']}: {counts or 'nothing'}")
    if report["records"]:
        say("Lines of collections: " + ", ".join(f"{count} {word}" for word, count in sorted(report["records"].items())))
    if report["removed"]:
        say(f"Removed: {report['removed']} documents")
    say(f"{report['passages']} passages in {report['seconds']:.1f} s ({report['id']}, {report['outcome']})")
    for one in report["notes"]:
        say(f"  note: {one}")
    for one in report["refusals"]:
        say(f"  {'kept' if one['reason'] == 'legal-hold' else 'quarantined'}: {one['path']}: {one['reason']} ({one['detail']})")


def described(progress: Mapping[str, Any]) -> str:
    """How far a run is."""
    seconds, share = max(progress["seconds"], 1e-9), progress["share"]
    left = f", {seconds / share - seconds:.0f} s left" if share else ""
    bar = "#" * int(20 * share)
    return (
        f"[{bar:<20}] {progress['files']}/{progress['of']} files, {progress['passages']} passages, "
        f"{progress['passages'] / seconds:.0f}/s{left}"
    )


def _init_labels(paths: list[Path], data: Path | None, config: Path | None) -> None:
    from ingest.labelling import write_first_labels
    from service.settings import load_settings

    if len(paths) != 1:
        raise UsageError("--init-labels takes one folder")
    settings = load_settings(directory_of(data), config)
    target = write_first_labels(absolute(paths[0]), settings.access.classifications)
    say(f"Wrote {target}. Edit classification, groups and owner, then: inhouse ingest {paths[0]}")
