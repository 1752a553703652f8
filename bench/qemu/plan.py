# SPDX-License-Identifier: BSD-2-Clause
"""What is compared: the ways to migrate, and the figures that are asked of them."""
from dataclasses import dataclass, field

from . import ferry, virtual


@dataclass(frozen=True)
class Load:
    """What the guest and the job do meanwhile: write to the first MiB, pages a second. 0: nothing."""

    rate: int = 0
    mib: int = 0


@dataclass(frozen=True, eq=False)
class Way:
    """How one of the two migrates, and what it is compared in."""

    who: object  # the module
    name: str
    measure: str  # "throughput" with nothing running, or "downtime" with a load
    scheme: str = "tcp"
    over: str = "tcp"
    capabilities: dict = field(default_factory=dict)  # QEMU's
    parameters: dict = field(default_factory=dict)    # QEMU's
    options: dict = field(default_factory=dict)       # pageferry's
    rails: int = 1                                    # pageferry's

    @property
    def label(self):
        side = "QEMU" if self.who is virtual else "pageferry"
        return f"{side} {self.name}"


def multifd(channels):
    return Way(virtual, f"multifd {channels}", "throughput", capabilities={"multifd": True},
               parameters={"multifd-channels": channels})


PRECOPY, HYBRID = {"mode": "precopy"}, {"mode": "hybrid"}

NATIVE = [
    Way(virtual, "1 channel", "throughput"),
    Way(ferry, "1 rail", "throughput", options=PRECOPY),
    multifd(2),
    Way(ferry, "2 rails", "throughput", options=PRECOPY, rails=2),
    multifd(4),
    Way(virtual, "defaults", "downtime"),
    Way(ferry, "hybrid", "downtime", options=HYBRID),
    Way(virtual, "limit 20 ms", "downtime", parameters={"downtime-limit": 20}),
    Way(ferry, "pre-copy", "downtime", options=PRECOPY),
]

INSIDE = [
    Way(virtual, "tcp", "throughput"),
    Way(ferry, "tcp", "throughput", options=PRECOPY),
    Way(virtual, "rdma", "throughput", "rdma", "rdma"),
    Way(ferry, "verbs", "throughput", "verbs", "rdma", options=PRECOPY),
    Way(virtual, "rdma, all pinned", "throughput", "rdma", "rdma",
        capabilities={"rdma-pin-all": True}),
    Way(ferry, "verbs, 2 rails", "throughput", "verbs", "rdma", options=PRECOPY, rails=2),
    Way(virtual, "tcp, running", "downtime"),
    Way(ferry, "tcp, hybrid", "downtime", options=HYBRID),
    Way(virtual, "rdma, running", "downtime", "rdma", "rdma"),
    Way(ferry, "verbs, hybrid", "downtime", "verbs", "rdma", options=HYBRID),
]


@dataclass(frozen=True)
class Aim:
    """A ratio of two figures, ours on top where more is better, and what it is to be at least."""

    name: str
    over: str
    measure: str
    key: str
    best: str  # "max": more is better, or "min"
    ours: str
    theirs: tuple
    wanted: float


NATIVE_AIMS = [
    Aim("throughput ÷ QEMU's one channel", "tcp", "throughput", "GBps", "max",
        "pageferry 1 rail", ("QEMU 1 channel",), 1.5),
    Aim("throughput ÷ QEMU's multifd, the better", "tcp", "throughput", "GBps", "max",
        "pageferry 1 rail", ("QEMU multifd 2", "QEMU multifd 4"), 1.0),
    Aim("QEMU's CPU seconds per GB ÷ ours", "tcp", "throughput", "cpu_s_per_GB", "min",
        "pageferry 1 rail", ("QEMU 1 channel",), 2.0),
    Aim("QEMU's downtime ÷ the hybrid's", "tcp", "downtime", "downtime_ms", "min",
        "pageferry hybrid", ("QEMU defaults",), 2.0),
    Aim("QEMU's downtime with a limit of 20 ms ÷ the hybrid's", "tcp", "downtime", "downtime_ms",
        "min", "pageferry hybrid", ("QEMU limit 20 ms",), 2.0),
]

INSIDE_AIMS = [
    Aim("over tcp: throughput ÷ QEMU's", "tcp", "throughput", "GBps", "max",
        "pageferry tcp", ("QEMU tcp",), 1.5),
    Aim("over RDMA: throughput ÷ QEMU's, the better", "rdma", "throughput", "GBps", "max",
        "pageferry verbs", ("QEMU rdma", "QEMU rdma, all pinned"), 1.5),
    Aim("over RDMA: QEMU's CPU seconds per GB ÷ ours", "rdma", "throughput", "cpu_s_per_GB", "min",
        "pageferry verbs", ("QEMU rdma", "QEMU rdma, all pinned"), 2.0),
    Aim("over RDMA, two rails: throughput ÷ QEMU's, the better", "rdma", "throughput", "GBps", "max",
        "pageferry verbs, 2 rails", ("QEMU rdma", "QEMU rdma, all pinned"), 1.5),
    Aim("over tcp: QEMU's downtime ÷ the hybrid's", "tcp", "downtime", "downtime_ms", "min",
        "pageferry tcp, hybrid", ("QEMU tcp, running",), 2.0),
    Aim("over RDMA: QEMU's downtime ÷ the hybrid's", "rdma", "downtime", "downtime_ms", "min",
        "pageferry verbs, hybrid", ("QEMU rdma, running",), 2.0),
]
