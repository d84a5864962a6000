"""The pages: server-rendered, own scripts, nothing from any other host."""
