"""The HTTP face: an OpenAI-compatible chat, search, documents, health and metrics."""
