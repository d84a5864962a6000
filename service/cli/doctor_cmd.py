"""`inhouse doctor`: checks this installation, and says how to mend what is wrong."""

from __future__ import annotations

from dataclasses import asdict

import typer

from policies.errors import InhouseError
from service.cli._common import ConfigOption, DataOption, JsonOption, directory_of
from service.cli.display import say, say_json

app = typer.Typer(pretty_exceptions_enable=False)
_SIGNS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


@app.command()
def doctor(json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Check versions, settings, the data directory, policies, log, models and tesseract; changes nothing."""
    from service.doctor import examine

    findings = []
    for finding in examine(directory_of(data), config):
        findings.append(finding)
        if not json:
            say(f"{_SIGNS[finding.state]}  {finding.check}: {finding.found}")
            if finding.mend:
                say(f"       {finding.mend}")
    if json:
        say_json({"findings": [asdict(finding) for finding in findings]})
    wrong = [finding.check for finding in findings if finding.state == "wrong"]
    if wrong:
        raise InhouseError(f"wrong: {', '.join(wrong)}", hint="What to do stands beside each.")
