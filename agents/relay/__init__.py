"""`rekindle relay`: triggers to an HTTP address, and what became of each back into the user topic."""
