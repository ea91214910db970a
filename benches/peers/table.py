"""The scenarios, and the table that their results make."""

import statistics
from dataclasses import dataclass

#: Not competitors: what anything costs at least.
CALIBRATION = ("relay", "direct")
OURS = "imapwarden"
#: Rounds from which on a third digit of a ratio says something.
FINE = 20


@dataclass(frozen=True)
class Scenario:
    """Options of the load, and which accounts log in where a server has several kinds."""

    options: tuple[str, ...]
    accounts: str = "exempt"

    def fits(self, peer: str) -> bool:
        """No other server has more than one kind."""
        return peer == OURS or self.accounts == "exempt"

    @property
    def needs_new_server(self) -> bool:
        """It counts memory that a server keeps once it has had it."""
        return "idle" in self.options


def scenario(words: str, accounts: str = "exempt") -> Scenario:
    return Scenario(("--scenario", *words.split()), accounts)


SCENARIOS = {
    "login": scenario("login --sessions 64"),
    "login-master": scenario("login --sessions 64", "master"),
    "login-sealed": scenario("login --sessions 64", "sealed"),
    "login-resume": scenario("login --sessions 64 --resume"),
    "noop1": scenario("noop --sessions 1"),
    "noop": scenario("noop --sessions 100"),
    "bulk": scenario("fetch-bulk --sessions 4"),
    "small-1": scenario("fetch-small --sessions 16"),
    "small-16": scenario("fetch-small --sessions 16 --depth 16"),
    "envelope": scenario("envelope --sessions 8"),
    "append": scenario("append --sessions 4"),
    "idle1k": scenario("idle --sessions 1000"),
    "idle1k-warm": scenario("idle --sessions 1000 --prefetch 2"),
    "idle5k": scenario("idle --sessions 5000"),
}


@dataclass(frozen=True)
class Row:
    """One figure of one scenario."""

    label: str
    scenario: str
    figure: str
    digits: int = 0
    more_is_better: bool = False


ROWS = [
    Row("login: logins/s", "login", "operations_per_s", more_is_better=True),
    Row("login: CPU µs", "login", "cpu_us_per_operation"),
    Row("login, 64 at once: p50 µs", "login", "p50_us"),
    Row("login, 64 at once: p99 µs", "login", "p99_us"),
    Row("login by master user: CPU µs", "login-master", "cpu_us_per_operation"),
    Row("login by sealed app password: CPU µs", "login-sealed", "cpu_us_per_operation"),
    Row("login by sealed app password, 64 at once: p50 µs", "login-sealed", "p50_us"),
    Row("login resumed: logins/s", "login-resume", "operations_per_s", more_is_better=True),
    Row("login resumed: CPU µs", "login-resume", "cpu_us_per_operation"),
    Row("login resumed: share of hand-shakes resumed", "login-resume", "resumed_share", 2, more_is_better=True),
    Row("NOOP, 1 session: p50 µs", "noop1", "p50_us", 1),
    Row("NOOP, 1 session: CPU µs", "noop1", "cpu_us_per_operation", 2),
    Row("NOOP, 100 sessions: commands/s", "noop", "operations_per_s", more_is_better=True),
    Row("NOOP, 100 sessions: p50 µs", "noop", "p50_us"),
    Row("NOOP, 100 sessions: p99 µs", "noop", "p99_us"),
    Row("NOOP, 100 sessions: p99.9 µs", "noop", "p99_9_us"),
    Row("NOOP, 100 sessions: CPU µs", "noop", "cpu_us_per_operation", 2),
    Row("FETCH 50 MB: MB/s", "bulk", "mb_per_s", more_is_better=True),
    Row("FETCH 50 MB: CPU ms/GB", "bulk", "cpu_ms_per_gb"),
    Row("FETCH 50 MB: bytes in a TLS record", "bulk", "bytes_per_record", more_is_better=True),
    Row("FETCH 4 KB, depth 1: messages/s", "small-1", "operations_per_s", more_is_better=True),
    Row("FETCH 4 KB, depth 1: CPU µs", "small-1", "cpu_us_per_operation", 2),
    Row("FETCH 4 KB, depth 16: messages/s", "small-16", "operations_per_s", more_is_better=True),
    Row("FETCH 4 KB, depth 16: CPU µs", "small-16", "cpu_us_per_operation", 2),
    Row("ENVELOPE 1:5000: MB/s", "envelope", "mb_per_s", more_is_better=True),
    Row("ENVELOPE 1:5000: lines/s", "envelope", "lines_per_s", more_is_better=True),
    Row("ENVELOPE 1:5000: CPU ms/GB", "envelope", "cpu_ms_per_gb"),
    Row("APPEND 1 MB: MB/s", "append", "mb_per_s", more_is_better=True),
    Row("APPEND 1 MB: CPU ms/GB", "append", "cpu_ms_per_gb"),
    Row("idle, 1000 sessions: KiB (PSS)", "idle1k", "kib_per_session", 1),
    Row("idle, 1000 sessions after a 64 KB fetch: KiB (PSS)", "idle1k-warm", "kib_per_session", 1),
    Row("idle, 5000 sessions: KiB (PSS)", "idle5k", "kib_per_session", 1),
    Row("idle, 5000 sessions: CPU µs for each that is opened", "idle5k", "cpu_us_per_open"),
    Row("idle, 1000 sessions: CPU µs a second for each", "idle1k", "cpu_us_per_session_and_s", 3),
]


@dataclass(frozen=True)
class Cell:
    """A figure's values by their rounds, and how many rounds failed."""

    by_round: dict
    failed: int

    @property
    def values(self) -> list[float]:
        return list(self.by_round.values())

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def ratio(self, best: "Cell") -> float | None:
        """The median of what rounds say, each by itself: a machine that changes its speed from one to the next changes both. Where
        they have no round in common, that of the medians."""
        pairs = [(value, best.by_round[number]) for number, value in self.by_round.items() if best.by_round.get(number)]
        if pairs:
            return statistics.median(value / other for value, other in pairs)
        return self.median / best.median if best.median else None


def cell(results: list[dict], peer: str, row: Row) -> Cell:
    # A server with one kind of login is compared by it.
    name = row.scenario if SCENARIOS[row.scenario].fits(peer) else "login"
    here = [result for result in results if result["peer"] == peer and result["scenario"] == name]
    good = {result["round"]: result[row.figure] for result in here if result["exit"] == 0 and row.figure in result}
    return Cell(good, sum(result["exit"] != 0 for result in here))


def shown(cell: Cell, row: Row, best: Cell | None) -> str:
    """Median, spread, and the ratio to the best competitor."""
    if not cell.values:
        return "failed" if cell.failed else "–"
    number = lambda value: f"{value:,.{row.digits}f}"
    text = f"{number(cell.median)} [{number(min(cell.values))}–{number(max(cell.values))}]"
    if best and (ratio := cell.ratio(best)):
        text += f" ×{ratio:.{3 if len(cell.values) >= FINE else 2}f}"
    return text + (f" ({cell.failed} failed)" if cell.failed else "")


def table(results: list[dict], peers: list[str]) -> str:
    lines = ["| | " + " | ".join(peers) + " |", "|---|" + "---|" * len(peers)]
    for row in ROWS:
        cells = {peer: cell(results, peer, row) for peer in peers}
        if not any(cell.values or cell.failed for cell in cells.values()):
            continue
        others = [cells[peer] for peer in peers if peer not in (*CALIBRATION, OURS) and cells[peer].values]
        best = (max if row.more_is_better else min)(others, key=lambda cell: cell.median, default=None)
        lines.append(f"| {row.label} | " + " | ".join(shown(cells[peer], row, best) for peer in peers) + " |")
    return "\n".join(lines)
