"""From a question to an answer whose every citation was really retrieved, with its record in the log."""
