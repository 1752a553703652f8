# SPDX-License-Identifier: BSD-2-Clause
"""pageferry's side: the job bench/jobs/bytes.c, with the file's bytes in its region, is moved."""
import contextlib
import json
import os
import re
import subprocess

from .processes import PATIENCE, Meter, Process, Trouble, await_that

SOURCE, DESTINATION = "ferry-source", "ferry-destination"


def command(bench, *words):
    """Ask pageferry; the last record of its answer."""
    ran = subprocess.run([str(bench.build / "pageferry"), *words, "--json"], env=environment(bench),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE,
                         check=False)
    if ran.returncode:
        raise Trouble(f"pageferry {' '.join(words)}: {ran.stderr.decode().strip()}")
    return json.loads(ran.stdout.splitlines()[-1])


def environment(bench):
    return {**os.environ, "PAGEFERRY_RUNTIME_DIR": str(bench.work / "run")}


def status(bench, name):
    with contextlib.suppress(Trouble):
        return command(bench, "status", name)
    return {}


def await_state(bench, process, what, **wanted):
    """Its status, once that is what is wanted."""
    def look():
        record = status(bench, process.name)
        return record if wanted.items() <= record.items() else None
    return await_that(what, look, process)


def start(bench, name, verb, way, load):
    job = [str(bench.build / "jobs" / "bytes"), "--file", str(bench.bytes)]
    if load.rate:
        job += ["--rate", str(load.rate), "--dirty", str(load.mib)]
    options = [f"--{name}={value}" for name, value in {**way.options, **bench.options}.items()]
    hold = [] if load.rate or verb[0] == "receive" else ["--hold-at=1"]
    return Process(name, bench.work, [str(bench.build / "pageferry"), *verb, "--name", name,
                                      *hold, *options, "--", *job], environment(bench))


def answer(process):
    """What the job found when it looked at its memory; ends it."""
    process.close_input()
    text = process.line()
    found = re.fullmatch(r"bytes: \d+ pages, (\d+) wrong, (\d+) writes in (\d+) us", text)
    if not found or found[1] != "0":
        raise Trouble(f"the job arrived with other bytes: {text}")
    return int(found[2]) / (int(found[3]) / 1e6) if int(found[3]) else 0


def migrate(bench, way, load):
    """One migration; what it took."""
    uri = ",".join([f"{way.scheme}://{bench.address}:0"] * way.rails)
    bench.spare.release(bench.spare.FOR_SOURCE)
    with contextlib.ExitStack() as stack:
        destination = start(bench, DESTINATION, ["receive", uri, "--once"], way, load)
        stack.callback(destination.end)
        uri = await_state(bench, destination, "it waits", state="waiting")["uri"]
        source = start(bench, SOURCE, ["run"], way, load)
        stack.callback(source.end)
        source.line()  # it is filled
        bench.spare.release(bench.spare.FOR_DESTINATION)
        meter = Meter(source, destination)
        told = command(bench, "migrate", SOURCE, uri)
        await_state(bench, destination, "it has all", state="running", remaining_bytes=0)
        took = meter.stop()
        rate = answer(destination)
    return {**took, "total_s": told["total_us"] / 1e6, "downtime_ms": told["downtime_us"] / 1e3,
            "sent_bytes": told["sent_bytes"], "dirty_pages_per_s": rate}
