"""Does as the driver of tests/conformance tells it. `--aio` has it use the client of asyncio."""

from __future__ import annotations

import argparse

import breaks
import tasks
import threads
from answers import say

import lockbroker


def main() -> None:
    """Says hello, and takes commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aio", action="store_true", help="use lockbroker.aio")
    parser.add_argument("--break", dest="rule", choices=breaks.RULES, help="break a rule of the client")
    arguments = parser.parse_args()
    if arguments.rule:
        breaks.RULES[arguments.rule]()
    package = "lockbroker.aio" if arguments.aio else "lockbroker"
    features = tasks.FEATURES if arguments.aio else threads.FEATURES
    say(hello={"client": f"{package} for Python {lockbroker.__version__}", "features": features})
    commands = tasks.Commands() if arguments.aio else threads.Commands()
    commands.run()


if __name__ == "__main__":
    main()
