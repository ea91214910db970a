"""What docs/metrics.md and docs/events.md say there is; a Rust test holds those to the code."""

import re
from pathlib import Path

from support.programs import REPOSITORY

DOCS = REPOSITORY / "docs"


def table(path: Path, first: str):
    """The rows of every table whose first column is named so, without backquotes, by column name."""
    rows, header = [], None
    for line in path.read_text().splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if header is None:
            header = cells if cells[0] == first else []
        elif header and not set(cells[0]) <= set("-: "):
            rows.append(dict(zip(header, cells)))
    assert rows, f"{path.name} has no table of {first}"
    return rows


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


def metrics():
    """Label names by metric; of a histogram also those of its series."""
    found = {}
    for row in table(DOCS / "metrics.md", "metric"):
        [name], labels = words(row["metric"]), set(words(row["labels"]))
        if row["type"] == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels, f"{name}_sum": labels}
        else:
            found[name] = labels
    return found


def reasons():
    return {words(row["reason"])[0] for row in table(DOCS / "events.md", "reason")}


def label_values():
    """Allowed values by label name."""
    found = {}
    for row in table(DOCS / "metrics.md", "label"):
        for label in words(row["label"]):
            found[label] = set(words(row["values"]))
    found["reason"] = reasons()
    # "the words of events.md"
    found["side"] = {row["side"] for row in table(DOCS / "events.md", "reason") if "side" in row}
    found["resumed"] = {"true", "false"}
    return found


def events():
    """Code by action."""
    return {words(row["action"])[0]: row["code"] for row in table(DOCS / "events.md", "code")}


def fields():
    return {words(row["field"])[0] for row in table(DOCS / "events.md", "field")}
