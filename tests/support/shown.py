"""Keeps what an engine tells."""

from inflate_zoo.bench.training.progress import Silent


class Shown:
    """Keeps what an engine tells."""

    def __init__(self, watcher=Silent):
        self.watcher, self.said, self.watched, self.over = watcher, [], [], []
        self.begun, self.noted, self.changed = None, [], []

    def begin(self, trials, at_once):
        self.begun = (len(trials), at_once)

    def change(self, at_once):
        self.changed.append(at_once)

    def watch(self, trial):
        self.watched.append(trial.folder.name)
        return self.watcher()

    def elsewhere(self, trial, progress):
        self.noted.append((trial.folder.name, progress))

    def ended(self, trial, how):
        self.over.append((trial.folder.name, how))

    def interrupted(self):
        self.said.append(f"interrupted after {len(self.over)}")

    def say(self, text, *, urgent=False):
        self.said.append(text)
