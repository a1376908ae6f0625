"""Parts of a report and what renders them; imports nothing else of the report."""
