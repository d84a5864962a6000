"""The command line: a verb's module is imported only when that verb is called, so that `--help` costs nothing."""

from __future__ import annotations

from policies.egress.switches import set_switches

set_switches()  # before anything else: a bare import of some dependencies already reaches out


def main() -> None:
    """Entry point of `inhouse`: runs one command and ends the process with its exit code."""
    import os

    os.umask(0o077)
    from service.cli.application import run

    raise SystemExit(run())
