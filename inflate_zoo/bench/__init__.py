"""The ranking: data, trials, records, statistics, report."""
