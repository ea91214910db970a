"""What mail programs run in."""

import os
from pathlib import Path


def environment(home: Path) -> dict:
    """What programs see: a home of their own and nothing of the user's."""
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "dumb"}
