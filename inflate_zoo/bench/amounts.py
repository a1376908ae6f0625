"""Times and sizes as people read them."""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours: `4.2 s`, `90 s`, `3.5 min`, `2.5 h`."""
    if seconds < 120:
        return f"{_short(seconds)} s"
    return f"{_short(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as MiB or GiB: `512 MiB`, `1.0 GiB`."""
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
