"""Files become text and pages, in worker processes that a bad file can kill without harm."""
