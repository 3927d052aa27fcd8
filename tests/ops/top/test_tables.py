"""Tests for C{chanserv.ops.top.tables} and C{heading}."""

from __future__ import annotations

from chanserv.ops.top.tables import view_of
from chanserv.ops.top.tallies import Tallies
from chanserv.ops.top.view import Style
from chanserv.worker.status import WorkerState
from tests.ops.top.samples import BEGAN, a_process, a_sample, a_worker, times


def viewed(*samples, every=1.0, layer="ipc:site"):
    tallies = Tallies()
    for sample in samples:
        tallies.add(sample)
    return view_of(samples[-1], tallies, layer, every)


def texts(view, table):
    """The rows of a table, each by its titles."""
    columns = view.tables[table].columns
    return [
        {column.title: cell.text for column, cell in zip(columns, row, strict=True)}
        for row in view.tables[table].rows
    ]


def names(view, table):
    return [row[0].text for row in view.tables[table].rows]


def heading(view):
    return ["".join(piece.text for piece in line) for line in view.heading]


def styles(view, line, text):
    """How what holds C{text} is shown in a line of the heading."""
    return [piece.style for piece in view.heading[line] if text in piece.text]


# The heading


def test_the_heading_tells_the_layer_and_what_it_says_of_itself() -> None:
    def sample(at, count, lost):
        totals = {
            "messages_count": count,
            "messages_pending": 12,
            "messages_max_age": 3,
            "channel_full_count": 5,
            "messages_expired_count": 0,
            "messages_lost_count": lost,
        }
        channels = {
            "http.request": {"messages_pending": 2, "messages_max_age": 1},
            "jobs.mail": {"messages_pending": 10, "messages_max_age": 3},
            "idle": {"messages_pending": 0, "messages_max_age": 0},
        }
        return a_sample(at, a_process(), totals=totals, channels=channels, round_trip=0.0004)

    view = viewed(sample(100, 1000, 0), sample(102, 1500, 4))
    first, second, _ = heading(view)
    assert "ipc:site" in first
    assert "round trip 0.4ms" in first
    assert "messages 250/s  waiting 12  oldest 3s on jobs.mail" in second
    assert "full 5  expired 0  lost 4 (+2.0/s)" in second
    # What grows is wrong now; what has grown once may be history.
    assert styles(view, 1, "lost") == [Style.BAD]
    assert styles(view, 1, "full") == [Style.PLAIN]


def test_the_heading_adds_up_what_interface_servers_have() -> None:
    def sample(at, requests):
        one = {"connections_open": 7, "sockets_open": 5, "requests": requests, "frames_in": 0}
        return a_sample(
            at,
            a_process(a_worker(), pid=1, counts=one),
            a_process(pid=2, counts={**one, "parked_now": 3}),
        )

    line = heading(viewed(sample(100, 0), sample(101, 10)))[2]
    assert "2 processes  1 worker  conns 14  sockets 10  req 20/s" in line
    assert "parked 3" in line


def test_a_system_without_workers_says_so() -> None:
    view = viewed(a_sample(100, a_process()))
    assert styles(view, 2, "0 workers") == [Style.BAD]


def test_it_says_that_no_process_answers() -> None:
    view = viewed(a_sample(100))
    assert heading(view)[2] == "no process answers"
    assert all(not table.rows for table in view.tables.values())


def test_it_says_that_some_are_silent() -> None:
    assert "1 process (2 more silent)" in heading(viewed(a_sample(100, a_process(), members=3)))[2]


def test_a_layer_that_does_not_answer_is_a_problem_and_processes_are_not() -> None:
    view = viewed(a_sample(100, problem="the store is away"))
    first, second, third = heading(view)
    assert "does not answer" in first
    assert second == "the store is away"
    assert third == ""


# Processes


def test_each_process_has_a_row() -> None:
    def sample(at, requests):
        counts = {"connections_open": 7, "sockets_open": 5, "requests": requests}
        return a_sample(
            at,
            a_process(pid=1, counts=counts, round_trip=0.002, uptime=at),
            a_process(pid=2, uptime=7300.0, release=""),
        )

    server, worker = texts(viewed(sample(100, 0), sample(101, 10)), "processes")
    assert server["PROCESS"] == "web:1"
    assert (server["CONNS"], server["SOCKS"], server["REQ/S"]) == ("7", "5", "10")
    assert (server["RELEASE"], server["TRIP"]) == ("blue", "2.0ms")
    # A process without an interface server has nothing of the kind, rather than none.
    assert (worker["UP"], worker["RELEASE"], worker["CONNS"], worker["REQ/S"]) == (
        "2h",
        "-",
        "-",
        "-",
    )


def test_one_that_does_not_answer_is_silent() -> None:
    quiet = viewed(a_sample(110, a_process(), heard=105))
    assert texts(quiet, "processes")[0]["UP"] == "silent"
    patient = viewed(a_sample(110, a_process(), heard=105), every=10.0)
    assert texts(patient, "processes")[0]["UP"] == "8m"


# Workers


def test_each_worker_has_a_row_and_what_is_wrong_comes_first() -> None:
    def sample(at, runs, failures):
        consumers = {"chat": times(*[0.1] * runs, failures=failures)}
        return a_sample(
            at,
            a_process(
                a_worker(100, 1, consumers=consumers, busy=4, oldest_run=2.5),
                a_worker(101, 2, state=WorkerState.STUCK, busy=4, oldest_run=90.0, restarts=3),
                a_worker(0, 3, state=WorkerState.WAITING, threads=0),
            ),
        )

    view = viewed(sample(100, 10, 0), sample(102, 16, 1))
    stuck, waiting, running = texts(view, "workers")
    assert (stuck["STATE"], stuck["OLDEST"], stuck["RST"], stuck["PID"]) == (
        "stuck",
        "90s",
        "3",
        "101",
    )
    assert (waiting["STATE"], waiting["PID"], waiting["BUSY"]) == ("waiting", "-", "0/0")
    assert (running["BUSY"], running["RUNS/S"], running["FAIL/S"]) == ("4/4", "3.0", "0.5")
    assert view.tables["workers"].rows[0][3].style is Style.BAD
    assert view.tables["workers"].rows[2][3].style is Style.GOOD


def test_two_workers_in_one_slot_are_two() -> None:
    def sample(at, old, new):
        return a_sample(
            at,
            a_process(
                a_worker(
                    100, 1, state=WorkerState.DRAINING, consumers={"chat": times(*[0.1] * old)}
                ),
                a_worker(101, 1, consumers={"chat": times(*[0.1] * new)}),
            ),
        )

    rows = texts(viewed(sample(100, 5, 0), sample(101, 5, 9)), "workers")
    assert {row["PID"]: row["RUNS/S"] for row in rows} == {"100": "0", "101": "9.0"}


# Releases


def test_releases_stand_side_by_side() -> None:
    def sample(at, blue, green, failures):
        return a_sample(
            at,
            a_process(
                a_worker(1, 1, consumers={"chat": times(*[0.01] * blue)}),
                a_worker(2, 2, consumers={"chat": times(*[0.01] * blue)}),
                a_worker(
                    3,
                    3,
                    release="green",
                    consumers={"chat": times(*[0.2] * green, failures=failures)},
                ),
                past=[a_worker(9, 0, release="red", consumers={"": times(*[1.0] * 4, failures=4)})],
            ),
        )

    blue, green, red = texts(viewed(sample(100, 100, 0, 0), sample(102, 110, 10, 5)), "releases")
    assert (blue["RELEASES"], blue["WORKERS"], blue["all RUNS"]) == ("blue", "2", "220")
    assert (green["RELEASES"], green["RUNS/S"], green["1m MEAN"]) == ("green", "5.0", "200ms")
    assert green["FAIL"] == "50%"
    # Its workers are gone, and what they did is still there to compare with.
    assert (red["RELEASES"], red["WORKERS"], red["all RUNS"], red["FAIL"]) == (
        "red",
        "0",
        "4",
        "100%",
    )


def test_a_release_without_a_label_is_shown() -> None:
    view = viewed(a_sample(100, a_process(a_worker(release=""))))
    assert names(view, "releases") == ["(no label)"]


# Consumers


def test_the_slowest_consumers_of_the_last_minute_come_first() -> None:
    def sample(at, slow, fast):
        consumers = {
            "a.fast": times(*[0.001] * fast),
            "b.slow": times(*[2.0] * slow),
            "c.was.slow": times(*[9.0] * 5),
        }
        return a_sample(at, a_process(a_worker(consumers=consumers)))

    view = viewed(sample(100, 0, 0), sample(101, 3, 100))
    assert names(view, "consumers") == ["b.slow", "a.fast", "c.was.slow"]
    row = texts(view, "consumers")[0]
    assert (row["RUNS/S"], row["1m MEAN"], row["all RUNS"]) == ("3.0", "2.0s", "3")


def test_runs_within_the_first_bucket_are_known_to_be_quick_and_no_more() -> None:
    quick = a_sample(100, a_process(a_worker(consumers={"chat": times(0.0001, 0.0001)})))
    columns = viewed(quick).tables["consumers"].columns
    row = viewed(quick).tables["consumers"].rows[0]
    found = [cell.text for column, cell in zip(columns, row, strict=True) if column.title == "p95"]
    assert found == ["-", "<5ms"]


def test_a_consumer_is_one_however_many_workers_run_it() -> None:
    view = viewed(
        a_sample(
            100,
            a_process(
                a_worker(1, 1, consumers={"chat": times(0.1)}),
                a_worker(2, 2, consumers={"chat": times(0.1, 0.1)}),
            ),
            a_process(a_worker(3, 1, consumers={"chat": times(0.1)}), pid=11),
        )
    )
    assert [row["all RUNS"] for row in texts(view, "consumers")] == ["4"]


# Channels


def test_channels_in_which_most_waits_come_first_and_then_the_busiest() -> None:
    def sample(at, count):
        channels = {
            "idle": {"messages_count": 50, "messages_pending": 0},
            "busy": {"messages_count": count, "messages_pending": 0},
            "stuck": {"messages_count": 9, "messages_pending": 9, "messages_max_age": 30},
        }
        return a_sample(at, a_process(), channels=channels)

    view = viewed(sample(100, 0), sample(101, 30))
    assert names(view, "channels") == ["stuck", "busy", "idle"]
    stuck, busy, _ = texts(view, "channels")
    assert (stuck["WAITING"], stuck["OLDEST"]) == ("9", "30s")
    assert (busy["MSG/S"], busy["OLDEST"]) == ("30", "-")


def test_names_of_nothing_known_do_not_matter() -> None:
    odd = a_process(a_worker(consumers={"": times(0.1)}), counts={}, started=BEGAN)
    view = viewed(a_sample(100, odd, channels={"jobs": {}}, totals={}))
    assert names(view, "consumers") == ["(not told apart)"]
    assert texts(view, "channels")[0]["WAITING"] == "0"
