"""From scores to a ranking, pure; imports nothing else of the ranking."""
