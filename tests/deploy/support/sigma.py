"""Sigma rules as our examples write them, and a plain reading of what they match."""

import yaml

from support.programs import REPOSITORY

FILES = sorted((REPOSITORY / "examples/siem/sigma").glob("*.yml"))


def documents():
    """(file, rule) for every rule, bases of correlations included."""
    return [(path, rule) for path in FILES for rule in yaml.safe_load_all(path.read_text())]


def value_of(event, field):
    """What stands at a dotted name."""
    for part in field.split("."):
        if not isinstance(event, dict) or part not in event:
            return None
        event = event[part]
    return event


def _holds(modifier, found, wanted):
    if found is None:
        return False
    if modifier == "":
        return str(found).lower() == str(wanted).lower()
    if modifier == "contains":
        return str(wanted).lower() in str(found).lower()
    return {"gt": found > wanted, "gte": found >= wanted}[modifier]


def matches(rule, event):
    """All fields of the one selection, any of a field's values."""
    assert set(rule["detection"]) == {"selection", "condition"} and rule["detection"]["condition"] == "selection"
    for key, wanted in rule["detection"]["selection"].items():
        field, _, modifier = key.partition("|")
        values = wanted if isinstance(wanted, list) else [wanted]
        if not any(_holds(modifier, value_of(event, field), value) for value in values):
            return False
    return True
