"""What the scenarios of the Python clients share."""
import json
import sys
import time


def check(name, got, want):
    """Prints what a scenario got and what it wants; the test compares."""
    print(json.dumps({"check": name, "got": got, "want": want}), flush=True)


def eventually(get, want, seconds=30):
    """Calls get until it returns want, and returns what it returned last."""
    end = time.monotonic() + seconds
    while (got := get()) != want and time.monotonic() < end:
        time.sleep(0.1)
    return got


def run(scenarios):
    """Runs the scenario that the command line names, against the broker it names."""
    scenarios[sys.argv[1]](sys.argv[2])
