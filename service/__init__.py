"""People meet the product here: the command line, the HTTP API, and the engine that answers."""
