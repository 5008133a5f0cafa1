"""Ends while daemon threads make events of metadata whose class says in Python what it is."""

import threading
import time
from collections.abc import Mapping

from daemoneye_eventbus import ProcessEvent


class Own(Mapping):
    @property
    def __class__(self):
        for _ in range(50):
            len("a switch of threads may come here")
        return Own

    def __getitem__(self, key):
        return "x"

    def __iter__(self):
        return iter("a")

    def __len__(self):
        return 1


def run():
    while True:
        ProcessEvent(1, "sh", metadata=Own())


for _ in range(4):
    threading.Thread(target=run, daemon=True).start()
time.sleep(0.05)
