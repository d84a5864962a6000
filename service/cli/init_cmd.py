"""`inhouse init`: makes a data directory."""

from __future__ import annotations

import typer

from service.cli._common import ConfigOption, DataOption, JsonOption, directory_of
from service.cli.display import say, say_json

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def init(data: DataOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Make a data directory: build the embedding model from the packaged weights, make an empty index, the log, and the
    local owner. Run again, it mends what is missing and changes nothing else. While nobody is an administrator, it prints a
    secret that makes the first one, once, within a day; a new one each time."""
    from service.initialise import initialise
    from service.settings import load_settings

    directory = directory_of(data)
    done = initialise(directory, load_settings(directory, config))
    if json:
        say_json(done)
        return
    say(f"{'Made' if done['made'] else 'Already there, and whole'}: {directory}")
    say(f"Embedding model: {done['embedder']}")
    say()
    say("Next: write labels for a folder of documents, edit them, and ingest it.")
    say("  inhouse ingest --init-labels FOLDER")
    say("  inhouse ingest FOLDER")
    first = done["first_administrator"]
    if first:
        say()
        say("Whoever opens this while the service runs becomes its first administrator: once, within a day, for you to keep:")
        say(f"  {first['url']}")
