"""The originals that conversions are proved against, each built by its own library."""
