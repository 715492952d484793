"""The core does what the vectors say, which the clients of all languages share: to the millisecond, and in every part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockbroker._core import Core, Settings
from lockbroker._core import types as t

FOLDER = Path(__file__).parents[2] / "vectors"
MS = t.MILLISECOND
Json = dict[str, Any]


def cases() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            case = json.loads(line)
            yield pytest.param(case, id=case["case"])


CASES = list(cases())


def test_there_are_vectors() -> None:
    assert len(CASES) > 60


@pytest.mark.parametrize("case", CASES)
def test_the_core_does_what_the_vector_says(case: Json) -> None:
    known(case, "v", "case", "settings", "chance", "steps")
    assert case["v"] == 1
    known(case["settings"], "endpoints", "answer_timeout")
    endpoints = tuple(f"broker {number}" for number in range(case["settings"]["endpoints"]))
    chances = iter(case["chance"])
    core = Core(Settings(endpoints, case["settings"]["answer_timeout"] * MS), lambda: next(chances), 0)
    keys: set[int] = set()
    for number, step in enumerate(case["steps"]):
        known(step, "at", "in", "out", "due", "valid", "state")
        event = to_input(step["in"])
        if isinstance(event, t.Acquire):
            keys.add(event.key)
        out = [from_output(output) for output in core.handle(step["at"] * MS, event)]
        made = {"at": step["at"], "in": step["in"], "out": out, "due": millis(core.due()), **locks(core, keys)}
        assert made == step, f"step {number}"


def locks(core: Core, keys: set[int]) -> Json:
    valid, states = {}, {}
    for key in keys:
        if held := core.held(key):
            until = millis(held.until)
            valid[str(key)] = {"bounded_by": until} if held.is_broken else until
        if state := core.state(key):
            states[str(key)] = state
    return {"valid": valid, "state": states}


def to_input(given: Json) -> t.Input:
    ((kind, of),) = given.items()
    match kind:
        case "acquire":
            known(of, "key", "name", "also", "linger", "owner", "value", "shared", "wait", "adopt")
            shared = of.get("shared")
            known(shared or {}, "limit", "weight")
            spec = t.LockSpec(
                of["name"],
                nanos(of.get("linger")),
                of.get("owner", ""),
                is_shared=shared is not None,
                limit=(shared or {}).get("limit"),
                also=tuple(of.get("also", ())),
                value=of["value"].encode() if "value" in of else None,
                weight=(shared or {}).get("weight", 1),
            )
            wait = None
            if "wait" in of:
                known(of["wait"], "until", "poll_interval")
                wait = t.Wait(nanos(of["wait"].get("until")), nanos(of["wait"].get("poll_interval")))
            return t.Acquire(of["key"], spec, wait, of.get("adopt"))
        case "end":
            known(of, "key")
            return t.End(of["key"])
        case "value":
            known(of, "key", "value")
            return t.Value(of["key"], of["value"].encode())
        case "share":
            known(of, "key", "limit")
            return t.Share(of["key"], of.get("limit"))
        case "dialled":
            known(of, "link", "code")
            return t.Dialled(of["link"], to_failure(of) if "code" in of else None)
        case "ended":
            known(of, "link", "code")
            return t.Ended(of["link"], to_failure(of))
        case "released_elsewhere":
            known(of, "key", "code")
            return t.ReleasedElsewhere(of["key"], to_failure(of) if "code" in of else None)
        case "timeout":
            known(of)
            return t.Timeout()
    return t.Received(of["link"], to_message(kind, of))


def to_message(kind: str, of: Json) -> t.Message:
    match kind:
        case "opened":
            known(of, "link", "ttl", "expires_after", "heartbeat_interval")
            return t.Opened(of["ttl"] * MS, of["expires_after"] * MS, of["heartbeat_interval"] * MS)
        case "heartbeat_ack":
            known(of, "link", "seq", "expires_after", "not_renewed")
            return t.HeartbeatAck(of["seq"], of["expires_after"] * MS, tuple(of["not_renewed"]))
        case "draining":
            known(of, "link")
            return t.Draining()
        case "other":
            known(of, "link")
            return t.Other()
    return t.LockEvent(of["lock_ref"], to_event(kind, of))


def to_event(kind: str, of: Json) -> t.Event:
    match kind:
        case "acquired":
            known(of, "link", "lock_ref", "lock_id", "fencing_token", "permit", "also")
            also = tuple(to_also(other) for other in of.get("also", ()))
            return t.Acquired(of["lock_id"], of["fencing_token"], of.get("permit"), also)
        case "not_acquired":
            known(of, "link", "lock_ref", "reason", "owner", "name")
            refusal = t.Refusal(t.RefusalReason[of["reason"]], of.get("owner", ""), of.get("name", ""))
            return t.NotAcquired(refusal)
        case "lost":
            known(of, "link", "lock_ref", "reason")
            return t.LostEvent(t.LostReason[of["reason"]])
        case "released":
            known(of, "link", "lock_ref")
            return t.ReleasedEvent()
        case "failed":
            known(of, "link", "lock_ref", "code", "retry_after")
            return t.FailedEvent(to_failure(of))
    raise AssertionError(f"unknown input {kind}")


def to_also(of: Json) -> t.Also:
    known(of, "lock_id", "fencing_token", "permit")
    return t.Also(of["lock_id"], of["fencing_token"], of.get("permit"))


def to_failure(of: Json) -> t.Failure:
    return t.Failure(t.Code[of["code"]], "as the vector says", retry_after=nanos(of.get("retry_after")))


def from_output(output: t.Output) -> Json:
    match output:
        case t.Dial(link, endpoint):
            return {"dial": {"link": link, "endpoint": endpoint}}
        case t.Open(link):
            return {"open": {"link": link}}
        case t.Heartbeat(link, seq):
            return {"heartbeat": {"link": link, "seq": seq}}
        case t.Begin():
            return {"begin": from_begin(output)}
        case t.EndLock(link, lock_ref):
            return {"end_lock": {"link": link, "lock_ref": lock_ref}}
        case t.Hangup(link):
            return {"hangup": {"link": link}}
        case t.Granted(key, _, _, _, also):
            granted = {"key": key, **from_grant(output)}
            return {"granted": {**granted, "also": list(map(from_grant, also))} if also else granted}
        case t.Moved(key, lock_id, also, permit):
            moved: Json = {"key": key, "lock_id": lock_id}
            if permit is not None:
                moved["permit"] = permit
            return {"moved": {**moved, "also": list(also)} if also else moved}
        case t.NotShared(key, failure):
            return {"not_shared": {"key": key, "code": failure.code.name}}
        case t.Refused(key, refusal):
            refused = {"key": key, "reason": refusal.reason.name, "owner": refusal.owner}
            return {"refused": {**refused, "name": refusal.name} if refusal.name else refused}
        case t.Failed(key, failure):
            return {"failed": {"key": key, "code": failure.code.name}}
        case t.Lost(key, reason):
            return {"lost": {"key": key, "reason": reason.name}}
        case t.Released(key):
            return {"released": {"key": key}}
        case t.ReleaseElsewhere(key, name, lock_id):
            return {"release_elsewhere": {"key": key, "name": name, "lock_id": lock_id}}


def from_grant(grant: t.Granted | t.Also) -> Json:
    made: Json = {"lock_id": grant.lock_id, "fencing_token": grant.fencing_token}
    return made if grant.permit is None else {**made, "permit": grant.permit}


def from_begin(begin: t.Begin) -> Json:
    made: Json = {"link": begin.link, "lock_ref": begin.lock_ref, "name": begin.spec.name}
    if begin.spec.also:
        made["also"] = list(begin.spec.also)
    if begin.spec.linger is not None:
        made["linger"] = millis(begin.spec.linger)
    if begin.spec.owner:
        made["owner"] = begin.spec.owner
    if begin.spec.value is not None:
        made["value"] = begin.spec.value.decode()
    if begin.spec.is_shared:
        made["shared"] = {} if begin.spec.limit is None else {"limit": begin.spec.limit}
        # A reattach names each permit.
        if begin.spec.weight > 1 and begin.reattach is None:
            made["shared"]["weight"] = begin.spec.weight
    if begin.wait is not None:
        wait = {"max_wait": millis(begin.wait.max_wait), "poll_interval": millis(begin.wait.poll_interval)}
        made["wait"] = {key: value for key, value in wait.items() if value is not None}
    if begin.reattach is not None:
        made["reattach"] = begin.reattach
    if begin.reattach_also:
        made["reattach_also"] = list(begin.reattach_also)
    return made


def known(of: Json, *keys: str) -> None:
    """A key that nobody knows would be a case that tests nothing."""
    assert not of.keys() - set(keys), f"unknown key in {of}"


def nanos(span: int | None) -> int | None:
    return None if span is None else span * MS


def millis(span: int | None) -> int | None:
    if span is None:
        return None
    assert span % MS == 0, f"{span} ns is not in whole milliseconds"
    return span // MS
