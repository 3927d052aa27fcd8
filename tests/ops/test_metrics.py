"""Tests for C{chanserv.ops.metrics}: the page, its names, and their documentation."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from chanserv.ops.families import CHANNEL, COUNTS, FAMILIES, LAYER, TEAM, TEAM_BY_CONSUMER, Kind
from chanserv.ops.glance import Glance
from chanserv.ops.metrics import Facts, page
from chanserv.ops.pulse import RoundTrips
from chanserv.ops.snapshot import Snapshot
from chanserv.server.counts import Counts
from chanserv.worker.counters import TeamCounters
from chanserv.worker.status import ConsumerTimes, WorkerState, WorkerStatus

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.rst"

STATISTICS = dict(zip(LAYER, range(10, 16), strict=True))


def worker(release: str = "", **values: object) -> WorkerStatus:
    given = {"slot": 1, "pid": 7, "state": WorkerState.RUNNING, **values}
    return WorkerStatus(release=release, **given)  # type: ignore[arg-type]


def times(*seconds: float, failures: int = 0) -> ConsumerTimes:
    made = ConsumerTimes()
    for one in seconds:
        made.add(one, failed=False)
    made.failures = failures
    return made


def snapshot(**values: object) -> Snapshot:
    return Snapshot(host="a", pid=7, version="1.0", started=1e9, **values)  # type: ignore[arg-type]


def full_facts() -> Facts:
    """Facts with a number for everything."""
    trips = RoundTrips()
    trips.add(0.002)
    counts = {one.name: number for number, one in enumerate(fields(Counts), 1)}
    counters = {one.name: number for number, one in enumerate(fields(TeamCounters), 1)}
    return Facts(
        snapshot(
            counts=counts,
            mailbox="chanserv.abc!",
            workers=[
                worker("v1", counters=counters, consumers={"site.a": times(0.004, 0.2)}),
                worker("v2", state=WorkerState.STUCK, threads=4, busy=4, oldest_run=61.0),
            ],
        ),
        Glance(
            totals=STATISTICS, channels={"http.request": STATISTICS, "chanserv.abc!": STATISTICS}
        ),
        round_trips=trips,
        log_events={"info": 3, "error": 1},
    )


def samples(facts: Facts) -> dict[tuple[str, ...], float]:
    """Each number under its name and the values of its labels, in their order."""
    text = page(facts)[0].decode()
    order = ("state", "consumer", "channel", "level", "direction", "reason", "release", "le")
    return {
        (sample.name, *(sample.labels[one] for one in order if one in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        if family.name.startswith("chanserv_")
        for sample in family.samples
    }


def test_a_page_of_everything_has_each_family_that_there_is() -> None:
    text = page(full_facts())[0].decode()
    shown = set(re.findall(r"^# TYPE (chanserv_\S+)", text, re.MULTILINE))
    assert shown == set(FAMILIES)


def test_the_documentation_explains_each_family_and_no_other() -> None:
    explained = re.findall(r"^``(chanserv_\w+)(?:\{([\w, ]+)\})?``", DOCS.read_text(), re.MULTILINE)
    assert len(explained) == len(dict(explained))
    known = {name: ", ".join(family.labels) for name, family in FAMILIES.items()}
    assert dict(explained) == known


def test_every_count_of_the_server_and_of_a_team_has_its_place() -> None:
    assert {one.name for one in fields(Counts)} == set(COUNTS)
    assert {one.name for one in fields(TeamCounters)} == set(TEAM) | TEAM_BY_CONSUMER


def test_every_place_is_a_family_with_labels_for_its_values() -> None:
    for name, *labels in COUNTS.values():
        assert len(FAMILIES[name].labels) == len(labels), name
    for table, labels in ((TEAM, ("release",)), (LAYER, ()), (CHANNEL, ("channel",))):
        for name in table.values():
            assert FAMILIES[name].labels == labels, name


def test_names_say_what_they_count() -> None:
    for name, family in FAMILIES.items():
        assert re.fullmatch(r"chanserv_[a-z0-9_]+", name)
        assert name.endswith("_total") is (family.kind is Kind.COUNTER), name
        if family.kind is Kind.HISTOGRAM:
            assert name.endswith("_seconds"), name


def test_names_stay_apart_where_a_format_leaves_the_ending_out() -> None:
    assert len({name.removesuffix("_total") for name in FAMILIES}) == len(FAMILIES)


def test_counts_of_the_server_stand_under_their_names_and_labels() -> None:
    found = samples(full_facts())
    numbers = {one.name: number for number, one in enumerate(fields(Counts), 1)}
    assert found["chanserv_requests_total",] == numbers["requests"]
    assert found["chanserv_connections",] == numbers["connections_open"]
    assert found["chanserv_frames_total", "in"] == numbers["frames_in"]
    assert found["chanserv_events_unhandled_total", "lost"] == numbers["lost"]


def test_a_process_without_an_interface_server_or_workers_shows_none() -> None:
    text = page(Facts(snapshot()))[0].decode()
    assert "chanserv_requests" not in text
    assert "chanserv_worker" not in text
    assert "chanserv_start_time_seconds 1e+09" in text
    assert 'chanserv_info{release="",version="1.0"} 1.0' in text


def test_a_histogram_counts_all_that_took_no_longer_than_its_bound() -> None:
    found = samples(full_facts())
    bounds = {
        key[-1]: value
        for key, value in found.items()
        if key[:3] == ("chanserv_consumer_seconds_bucket", "site.a", "v1")
    }
    assert (bounds["0.005"], bounds["0.1"], bounds["0.25"], bounds["+Inf"]) == (1, 1, 2, 2)
    assert found["chanserv_consumer_seconds_count", "site.a", "v1"] == 2
    assert round(found["chanserv_consumer_seconds_sum", "site.a", "v1"], 6) == 0.204
    assert found["chanserv_layer_round_trip_seconds_bucket", "0.0025"] == 1


def test_workers_of_one_release_add_up_with_those_that_are_gone() -> None:
    facts = Facts(
        snapshot(
            workers=[
                worker("v2", threads=4, busy=1, oldest_run=3.0, restarts=2),
                worker(
                    "v2",
                    slot=2,
                    restarts=3,
                    threads=4,
                    busy=2,
                    oldest_run=5.0,
                    counters={"dropped": 1},
                    consumers={"site.a": times(1.0, failures=1)},
                ),
            ],
            past=[
                worker("v1", consumers={"site.a": times(9.0)}),
                worker("v2", counters={"dropped": 5}, consumers={"site.a": times(2.0, 3.0)}),
            ],
        )
    )
    found = samples(facts)
    assert found["chanserv_workers", "running", "v2"] == 2
    assert found["chanserv_worker_threads_busy", "v2"] == 3
    assert found["chanserv_worker_oldest_run_seconds", "v2"] == 5.0
    assert found["chanserv_worker_restarts_total",] == 5
    assert found["chanserv_worker_dropped_total", "v2"] == 6
    assert found["chanserv_consumer_seconds_count", "site.a", "v2"] == 3
    assert found["chanserv_consumer_failures_total", "site.a", "v2"] == 1
    assert found["chanserv_consumer_seconds_sum", "site.a", "v1"] == 9.0
    # Those that are gone are no workers.
    assert ("chanserv_workers", "waiting", "v1") not in found


def test_a_slot_counts_once_while_two_processes_have_it() -> None:
    those = [worker("v1", restarts=2, state=WorkerState.DRAINING), worker("v2", restarts=2)]
    assert samples(Facts(snapshot(workers=those)))["chanserv_worker_restarts_total",] == 2


def test_that_no_worker_runs_is_a_number_and_not_an_absence() -> None:
    found = samples(Facts(snapshot(workers=[worker("v1", state=WorkerState.WAITING)])))
    assert found["chanserv_workers", "running", "v1"] == 0
    assert found["chanserv_workers", "waiting", "v1"] == 1


def test_it_says_how_the_layer_is() -> None:
    found = samples(full_facts())
    assert found["chanserv_layer_up",] == 1
    assert found["chanserv_layer_messages_pending",] == STATISTICS["messages_pending"]
    assert (
        found["chanserv_channel_oldest_message_seconds", "http.request"]
        == STATISTICS["messages_max_age"]
    )
    assert found["chanserv_replies_pending",] == STATISTICS["messages_pending"]
    assert ("chanserv_channel_messages_pending", "chanserv.abc!") not in found
    away = samples(Facts(snapshot(), ready=False, layer_answers=False))
    assert (away["chanserv_layer_up",], away["chanserv_ready",]) == (0, 0)


def test_names_of_consumers_and_releases_cannot_break_the_page() -> None:
    nasty = 'site."a"\n{evil} 1\\'
    facts = Facts(snapshot(workers=[worker(nasty, consumers={nasty: times(1.0)})]))
    assert samples(facts)["chanserv_consumer_seconds_count", nasty, nasty] == 1


def test_the_format_is_the_one_that_the_client_asks_for() -> None:
    plain, plain_type = page(full_facts(), "")
    newer, newer_type = page(full_facts(), "application/openmetrics-text; version=1.0.0")
    assert plain_type.startswith("text/plain")
    assert newer_type.startswith("application/openmetrics-text")
    assert newer.endswith(b"# EOF\n")
    assert not plain.endswith(b"# EOF\n")
