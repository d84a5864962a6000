"""The service's door for the owner of the data directory: a Unix socket in it, and the client of that socket."""
