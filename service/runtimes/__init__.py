"""What turns passages into an answer: one adapter per file, behind one streaming interface."""
