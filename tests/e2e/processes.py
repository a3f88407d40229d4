"""Processes of others, for the tests: whether one is alive, and how to freeze one."""
import os
import signal
import time


def states(pid):
    """One letter for each thread (proc(5))."""
    found = ""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/stat") as file:
                found += file.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            pass     # over
    return found


def is_alive(pid):
    try:
        return bool(set(states(pid)) - set("ZX"))
    except OSError:
        return False


def freeze(pid):
    """Until all of its threads stand still: the signal stops each when it is next scheduled, and until then the others go on answering. SIGCONT thaws it."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + 60
    while set(states(pid)) - set("TtZX"):
        if time.monotonic() > end:
            raise AssertionError(f"process {pid} does not stop: {states(pid)}")
        time.sleep(0.001)
