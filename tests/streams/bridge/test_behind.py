"""How far a bridge is behind, and whether it stands still."""

from __future__ import annotations

from streams.bridge.behind import Behind


def test_what_waits_is_counted_by_the_ends_of_the_logs() -> None:
    behind = Behind()
    behind.look({0: 5, 1: 7, 2: 3}, {0: 9, 1: 7}, 0.0)
    assert behind.records == 4


def test_a_partition_that_does_not_move_is_noticed_though_the_others_do() -> None:
    behind = Behind()
    for second in range(5):
        behind.look({0: 5, 1: second}, {0: 9, 1: 100}, float(second))
    assert behind.still_seconds(5.0) == 5.0


def test_where_nothing_waits_nothing_stands_still() -> None:
    behind = Behind()
    behind.look({0: 9}, {0: 9}, 0.0)
    behind.look({0: 9}, {0: 9}, 50.0)
    behind.look({0: 9}, {0: 12}, 70.0)
    assert behind.still_seconds(80.0) == 30.0


def test_a_partition_that_was_given_away_is_forgotten() -> None:
    behind = Behind()
    behind.look({0: 1}, {0: 9}, 0.0)
    behind.look({}, {0: 9}, 50.0)
    assert (behind.records, behind.still_seconds(60.0)) == (0, 0.0)
