"""What ends a training before its last step."""

from inflate_zoo.errors import WorkError


class WindowError(WorkError):
    """A training window cannot be made."""

    def __init__(self, case: str, reason: str) -> None:
        super().__init__(
            f"a training window of case '{case}' cannot be made: {reason}",
            hint="run 'inflate-zoo data check' on the data set",
        )
        self.case = case


class NotFiniteError(WorkError):
    """The loss or its gradient is NaN or infinite; `cases` are those of the step."""

    def __init__(self, step: int, cases: list[str]) -> None:
        super().__init__(
            f"the loss or its gradient is NaN or infinite at step {step}, on {', '.join(cases)}",
            hint="lower the learning rate, e.g. --set train.learning_rate=1e-4",
        )
        self.cases = cases


class DeadWorkerError(WorkError):
    """A process that makes windows died; `cases` are those that were waited for."""

    def __init__(self, cases: list[str]) -> None:
        super().__init__(
            f"a process that makes training windows died, making those of {', '.join(cases)}",
            hint="it may have run out of memory: lower --workers",
        )
        self.cases = cases
