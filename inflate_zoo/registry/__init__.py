"""The zoo: entries, loading, making, publishing; imports conversion and below."""
