"""Files become labelled passages. For the command that starts it, see service/cli/ingest_cmd.py."""
