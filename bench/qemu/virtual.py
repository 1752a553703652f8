# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's side: a guest with the file's bytes in its memory goes from one QEMU to another."""
import contextlib
import re
import time

from .processes import Meter, Process, Trouble, free_port
from .qmp import Monitor

QEMU = "qemu-system-x86_64"
FILLED_FROM_MIB = 16  # below is room for the guest's program and the BIOS,
ABOVE_MIB = 4         # and above for tables of the BIOS
COUNT_AT = 0x8000     # where guest.c counts the pages that it has written
UNLIMITED = 10**12    # bytes a second
RATE_S = 0.5          # how long the guest's dirty rate is measured before it goes


class Machine:
    """A QEMU that runs a guest, or waits for one to come."""

    def __init__(self, name, bench, load, incoming):
        path = bench.work / f"{name}.qmp"
        path.unlink(missing_ok=True)
        command = [QEMU, "-accel", "tcg", "-machine", "pc", "-cpu", "max", "-smp", "1",
                   "-m", f"{FILLED_FROM_MIB + bench.mib + ABOVE_MIB}M", "-nodefaults", "-no-user-config",
                   "-display", "none", "-qmp", f"unix:{path},server=on,wait=off"]
        if load.rate:
            command += ["-kernel", str(bench.guest), "-append",
                        f"{FILLED_FROM_MIB} {load.mib} {load.rate // 1000}"]
        else:
            command += ["-S"]
        if incoming:
            command += ["-incoming", "defer"]
        else:
            command += ["-device", f"loader,file={bench.bytes},force-raw=on,"
                        f"addr={FILLED_FROM_MIB << 20:#x}"]
        self.process = Process(name, bench.work, command)
        self.monitor = Monitor(path, self.process)

    def prepare(self, way):
        """The same settings on both ends."""
        wanted = {"events": True, **way.capabilities}
        self.monitor.ask("migrate-set-capabilities", capabilities=[
            {"capability": name, "state": state} for name, state in wanted.items()])
        self.monitor.ask("migrate-set-parameters", **{"max-bandwidth": UNLIMITED, **way.parameters})

    def pages_written(self):
        answer = self.monitor.ask("human-monitor-command",
                                  **{"command-line": f"xp /2wx {COUNT_AT:#x}"})
        low, high = (int(word, 16) for word in re.findall(r"0x([0-9a-f]+)", answer)[-2:])
        return high << 32 | low

    def sample(self, bench, offset, length):
        """Bytes of the filled memory."""
        path = bench.work / "sample"
        self.monitor.ask("pmemsave", val=(FILLED_FROM_MIB << 20) + offset, size=length,
                         filename=str(path))
        return path.read_bytes()

    def close(self):
        self.process.end()
        self.monitor.close()


def measured_rate(machine):
    """Pages a second that the guest writes, once it does."""
    while not machine.pages_written():
        time.sleep(0.02)
    before, began = machine.pages_written(), time.monotonic()
    time.sleep(RATE_S)
    return (machine.pages_written() - before) / (time.monotonic() - began)


def check(bench, machine, load):
    """Its last MiB, which no guest writes to, are the file's; the guest goes on counting."""
    mib = 1 << 20
    with open(bench.bytes, "rb") as file:
        file.seek((bench.mib - 1) * mib)
        if machine.sample(bench, (bench.mib - 1) * mib, mib) != file.read(mib):
            raise Trouble("QEMU's guest arrived with other bytes")
    if load.rate:
        before = machine.pages_written()
        time.sleep(0.05)
        if machine.pages_written() == before:
            raise Trouble("QEMU's guest does not go on")


def final_word(monitor):
    """What QEMU says of the migration once it has counted: "completed" may come before that."""
    for _ in range(100):
        told = monitor.ask("query-migrate")
        if told["total-time"] > 0:
            return told
        time.sleep(0.01)
    raise Trouble("QEMU does not say how long its migration took")


def migrate(bench, way, load):
    """One migration; what it took."""
    uri = f"{way.scheme}:{bench.address}:{free_port(bench.address)}"
    bench.spare.release(bench.spare.FOR_SOURCE)
    with contextlib.ExitStack() as stack:
        source = Machine("qemu-source", bench, load, incoming=False)
        stack.callback(source.close)
        destination = Machine("qemu-destination", bench, load, incoming=True)
        stack.callback(destination.close)
        for machine in (source, destination):
            machine.prepare(way)
        destination.monitor.ask("migrate-incoming", uri=uri)
        rate = measured_rate(source) if load.rate else 0
        bench.spare.release(bench.spare.FOR_DESTINATION)
        meter = Meter(source.process, destination.process)
        source.monitor.ask("migrate", uri=uri)
        source.monitor.await_migrated()
        destination.monitor.await_migrated()
        took = meter.stop()
        told = final_word(source.monitor)
        check(bench, destination, load)
    return {**took, "total_s": told["total-time"] / 1e3, "downtime_ms": float(told["downtime"]),
            "sent_bytes": told["ram"]["transferred"], "dirty_pages_per_s": rate}
