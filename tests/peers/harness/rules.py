"""What the rules of a proxy have decided, by its events."""

import time
from harness.endpoint import Endpoint


def decisions(endpoint: Endpoint, mode: str = "enforce") -> list[dict]:
    """The events of rules that have acted, or would have, in order."""
    found = [event for event in endpoint.proxy.events() if event["event"]["action"] in ("rule_matched", "alert_raised")]
    return [event for event in found if event["imapwarden"]["decision"]["mode"] == mode]


def first(endpoint: Endpoint, rule: str, within: float = 10.0) -> dict:
    """The first event of a rule that acts; waits for it."""
    deadline = time.monotonic() + within
    while not (found := [event for event in decisions(endpoint) if event["rule"]["name"] == rule]):
        assert time.monotonic() < deadline, endpoint.proxy.events()[-5:]
        time.sleep(0.05)
    return found[0]
