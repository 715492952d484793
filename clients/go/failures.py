"""Prints what the failed tests printed, from the output of `go test -json` on stdin."""

import json
import sys

printed = {}
for line in sys.stdin:
    try:
        event = json.loads(line)
    except ValueError:
        print(line, end="")
        continue
    test = (event.get("Package", event.get("ImportPath")), event.get("Test"))
    if "Output" in event:
        printed.setdefault(test, []).append(event["Output"])
    if event["Action"] in ("fail", "build-fail"):
        print("".join(printed.get(test, [])), end="")
