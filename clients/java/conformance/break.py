"""Writes the sources by which the client breaks a rule: break.py RULE FOLDER.

Prints their paths. Fails if the client no longer has the lines that are to be other ones.
"""

import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[1] / "lockbroker-client/src/main/java"
FAR = "1_000_000_000 * Moments.SECOND"
CORE = "io/github/lockbroker/internal/core/"
# The file, what it has, and what it has instead.
RULES = {
    # Sends no heartbeats, and goes on as if they had been answered.
    "heartbeat": [
        (
            CORE + "Link.java",
            "    send(new Request.Heartbeat(lastSeq), out);\n",
            "    heardAt = now;\n"
            "    acknowledged(new Message.HeartbeatAck(lastSeq, ttl * 13 / 15, List.of()));\n",
        ),
        ("io/github/lockbroker/Session.java", "    boolean concernsAll =\n", "    boolean concernsAll = true ||\n"),
    ],
    # Never moves a lock, and says that it is held.
    "reattach": [
        (CORE + "Lock.java", "state == State.HELD && (home.link() != link.id || wantsPermit)", "state == null"),
        (CORE + "Core.java", "link.ttl, until, !link.isOpen())", "link.ttl, until, false)"),
    ],
    # Has no validity end, and believes no broker that it has.
    "clock": [
        (CORE + "Lock.java", "    if (isPending()) {\n", "    if (isPending() || reason == Loss.EXPIRED) {\n"),
        (
            CORE + "Validity.java",
            "    coveredUntil = Moments.after(sent, expiresAfter);\n",
            f"    coveredUntil = Moments.after(sent, {FAR});\n",
        ),
        (
            CORE + "Validity.java",
            "    coveredUntil = Moments.after(beats.getFirst().sent, expiresAfter);\n",
            f"    coveredUntil = Moments.after(beats.getFirst().sent, {FAR});\n",
        ),
    ],
    # Releases nothing, and says so.
    "release": [
        ("io/github/lockbroker/HeldLock.java", "    session.giveUp(key);\n", "    hold.over(null);\n"),
    ],
}


def main(rule: str, folder: Path) -> None:
    """Writes the sources of a rule."""
    written = {}
    for file, old, new in RULES[rule]:
        text = written.get(file) or (CLIENT / file).read_text()
        if text.count(old) != 1:
            sys.exit(f"clients/java/conformance/break.py: {file} does not have this once, to break {rule}:\n{old}")
        written[file] = text.replace(old, new)
    for file, text in written.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
        print(folder / file)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
