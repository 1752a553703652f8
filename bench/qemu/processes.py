# SPDX-License-Identifier: BSD-2-Clause
"""Processes that are measured: started, timed by their own CPU clocks, and ended by their pid."""
import contextlib
import select
import signal
import socket
import subprocess
import time

PATIENCE = 120  # seconds that anything may take; a virtual machine inside one is fifty times slower


class Trouble(Exception):
    """A run that went wrong, in a sentence."""


def free_port(address):
    """A port that nobody listens on; the next who asks gets another one."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def await_that(what, look, process, every=0.02):
    """Ask until look() gives something; no longer than the process lives."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        if not process.alive():
            raise Trouble(f"{process.name} ended before {what}:\n{process.errors()}")
        if time.monotonic() > end:
            raise Trouble(f"{process.name}: not {what} after {PATIENCE} s\n{process.errors()}")
        time.sleep(every)
    return found


class Process:
    """One program, with its standard error in a file of the work directory."""

    def __init__(self, name, work, command, environment=None):
        self.name = name
        self.log = work / f"{name}.err"
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE, stderr=log)

    def alive(self):
        return self.child.poll() is None

    def errors(self):
        return self.log.read_text(errors="replace")[-2000:]

    def cpu_s(self):
        """Seconds of CPU, user and system, of all its threads, also those that have ended."""
        return time.clock_gettime(~self.child.pid << 3 | 2)  # as clock_getcpuclockid() makes it

    def line(self):
        """The next line that it prints."""
        ready, _, _ = select.select([self.child.stdout], [], [], PATIENCE)
        text = self.child.stdout.readline().decode() if ready else ""
        if not text:
            raise Trouble(f"{self.name} said nothing more:\n{self.errors()}")
        return text.strip()

    def close_input(self):
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()

    def end(self):
        """End it, if it has not ended: politely at first."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            if self.alive():
                self.child.send_signal(how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.child.wait(10)
        self.close_input()
        self.child.stdout.close()


def machine_cpu_s():
    """Seconds of CPU that all of the machine has spent on anything, kernel threads too."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, stat.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / 100


class Meter:
    """CPU and wall clock time from its making to stop(), of both ends together."""

    def __init__(self, *ends):
        self.ends = ends
        self.machine = machine_cpu_s()
        self.cpu = sum(end.cpu_s() for end in ends)
        self.began = time.monotonic()

    def stop(self):
        wall = time.monotonic() - self.began
        cpu = sum(end.cpu_s() for end in self.ends) - self.cpu
        return {"wall_s": wall, "cpu_s": cpu, "machine_cpu_s": machine_cpu_s() - self.machine}
