"""What may happen, what must not leak, and what did happen. The ground floor: imports none of the other packages."""
