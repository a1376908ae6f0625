"""What other holders of a folder do while it is waited for."""

from inflate_zoo.files.writing import turns
from inflate_zoo.files.writing.claims import lock


def while_waiting(monkeypatch, *steps):
    """Call each of the steps, one after the other, where a process would wait for a folder."""
    left = list(steps)

    def waits(descriptor, *, alone, wait):
        if wait:
            left.pop(0)()
        return lock(descriptor, alone=alone, wait=wait)

    monkeypatch.setattr(turns, "lock", waits)
