"""Writes an overlay for `go build` by which the client breaks a rule: overlay.py RULE FOLDER.

Prints the path of the overlay. Fails if the client no longer has the lines that are to be other ones.
"""

import json
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[1]
FAR = "1_000_000_000 * time.Second"
# The file, what it has, and what it has instead.
RULES = {
    # Sends no heartbeats, and goes on as if they had been answered.
    "heartbeat": [
        (
            "internal/core/link.go",
            "	l.send(Heartbeat{l.lastSeq}, out)\n",
            "	l.heardAt = now\n	l.acknowledged(HeartbeatAck{Seq: l.lastSeq, ExpiresAfter: l.ttl * 13 / 15})\n",
        ),
        ("session.go", "	concernsAll := false\n", "	concernsAll := true\n"),
    ],
    # Never moves a lock, and says that it is held.
    "reattach": [
        ("internal/core/lock.go", "	case l.state == held && (l.home.link != link.id || l.wantsPermit):\n", "	case false:\n"),
        ("internal/core/core.go", "link.until(lock.home.lockRef), !link.isOpen()}", "link.until(lock.home.lockRef), false}"),
    ],
    # Has no validity end, and believes no broker that it has.
    "clock": [
        (
            "internal/core/lock.go",
            "	if l.isPending() {\n		return stay{}\n",
            "	if l.isPending() || reason == LostExpired {\n		return stay{}\n",
        ),
        ("internal/core/validity.go", "	until := sent.Add(expiresAfter)\n", f"	until := sent.Add({FAR})\n"),
        (
            "internal/core/validity.go",
            "	v.coveredUntil = v.beats[0].sent.Add(expiresAfter)\n",
            f"	v.coveredUntil = v.beats[0].sent.Add({FAR})\n",
        ),
        ("lease.go", "	if l.err == nil && l.until.HasPassed() {\n", "	if false {\n"),
    ],
    # Releases nothing, and says so.
    "release": [
        ("lock.go", "	l.session.do(func() { l.session.giveUp(l.key) })\n	select {\n", "	return nil\n	select {\n"),
        ("lease.go", "		return l.brokers.releaseLease(l.name, l.id)\n", "		return nil\n"),
    ],
}


def main(rule: str, folder: Path) -> None:
    """Writes the overlay of a rule."""
    folder.mkdir(parents=True, exist_ok=True)
    replaced = {}
    for file, old, new in RULES[rule]:
        source = CLIENT / file
        patched = folder / file.replace("/", "-")
        text = patched.read_text() if str(source) in replaced else source.read_text()
        if text.count(old) != 1:
            sys.exit(f"clients/go/conformance/overlay.py: {file} does not have this once, to break {rule}:\n{old}")
        patched.write_text(text.replace(old, new))
        replaced[str(source)] = str(patched)
    overlay = folder / "overlay.json"
    overlay.write_text(json.dumps({"Replace": replaced}))
    print(overlay)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
