"""Laps of a run: messages, wall clock, CPU of the measuring process and of PostgreSQL; and what warm laps say together."""

import time
from statistics import median

import msgspec

from benchmarks.processes import cpu_s


class Lap(msgspec.Struct, frozen=True):
    """One part of a run."""

    messages: int
    wall_s: float
    client_s: float
    postgres_s: float


class Pace(msgspec.Struct, frozen=True):
    """The median of the warm laps. per_s: by the clock; per_cpu_s: by the CPU time that both sides used; cold: lap 1."""

    messages: int
    per_s: float
    least_per_s: float
    most_per_s: float
    cold_per_s: float
    per_cpu_s: float
    client_us: float
    postgres_us: float


class Watch:
    """Times laps in this process. server_pid: PostgreSQL's first process."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._began = self._now(0)
        self.laps: list[Lap] = []

    def lap(self, messages: int) -> None:
        """A lap of so many messages is over; the next begins."""
        now, began = self._now(messages), self._began
        self.laps.append(
            Lap(
                messages,
                now.wall_s - began.wall_s,
                now.client_s - began.client_s,
                now.postgres_s - began.postgres_s,
            )
        )
        self._began = self._now(0)

    def _now(self, messages: int) -> Lap:
        return Lap(messages, time.perf_counter(), time.process_time(), cpu_s(self._server_pid))


def pace(laps: list[Lap]) -> Pace:
    """What the later half of the laps says together: the earlier half finds pages and statements cold."""
    warm = laps[len(laps) // 2 :]
    speeds = [lap.messages / lap.wall_s for lap in warm]
    return Pace(
        messages=sum(lap.messages for lap in warm),
        per_s=median(speeds),
        least_per_s=min(speeds),
        most_per_s=max(speeds),
        cold_per_s=laps[0].messages / laps[0].wall_s,
        per_cpu_s=median(lap.messages / (lap.client_s + lap.postgres_s) for lap in warm),
        client_us=median(lap.client_s / lap.messages * 1e6 for lap in warm),
        postgres_us=median(lap.postgres_s / lap.messages * 1e6 for lap in warm),
    )
