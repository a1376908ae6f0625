"""The ranking: data, trials, scores, report; imports registry and below."""
