# SPDX-License-Identifier: BSD-2-Clause
"""Figures of the runs: medians, bests, ratios; for people, and as JSON records a line each."""
import json
import statistics

COLUMNS = [  # key, heading, digits; of the table for people
    ("total_s", "total, s", 3),
    ("GBps", "GB/s", 2),
    ("GBps_best", "best", 2),
    ("downtime_ms", "downtime, ms", 1),
    ("cpu_s_per_GB", "CPU s/GB", 2),
    ("machine_cpu_s_per_GB", "machine's", 2),
    ("dirty_pages_per_s", "dirty pages/s", 0),
]
LESS_IS_BETTER = ("total_s", "wall_s", "downtime_ms", "cpu_s_per_GB", "machine_cpu_s_per_GB")


def figures(took, gigabytes):
    """One run's, derived from what it took. GB are of the filled memory, 10⁹ bytes."""
    return {
        "total_s": took["total_s"],
        "wall_s": took["wall_s"],
        "downtime_ms": took["downtime_ms"],
        "GBps": gigabytes / took["total_s"],
        "cpu_s_per_GB": took["cpu_s"] / gigabytes,
        "machine_cpu_s_per_GB": took["machine_cpu_s"] / gigabytes,
        "sent_bytes": took["sent_bytes"],
        "dirty_pages_per_s": took["dirty_pages_per_s"],
    }


def best(key, values):
    return min(values) if key in LESS_IS_BETTER else max(values)


def summary(runs):
    """Medians under the keys' own names, bests beside them."""
    result = {"runs": len(runs)}
    for key in (*LESS_IS_BETTER, "GBps", "sent_bytes", "dirty_pages_per_s"):
        values = [run[key] for run in runs]
        result[key] = statistics.median(values)
        result[f"{key}_best"] = best(key, values)
    return result


def ratio(aim, of, suffix):
    """At least 1 where ours is no worse than the best of theirs; None where one is missing."""
    key = aim.key + suffix
    theirs = [of[name][key] for name in aim.theirs if name in of]
    if aim.ours not in of or not theirs:
        return None
    ours, other = of[aim.ours][key], best(aim.key, theirs)
    top, bottom = (ours, other) if aim.best == "max" else (other, ours)
    return top / bottom if bottom else None


def rounded(record):
    return {key: round(value, 4) if isinstance(value, float) else value
            for key, value in record.items()}


class Report:
    """Collects runs; prints records as they come, or tables at the end."""

    def __init__(self, about, as_json):
        self.about = about
        self.as_json = as_json
        self.runs = {}  # way -> figures, a run each

    def add(self, way, figures_of_run):
        self.runs.setdefault(way, []).append(figures_of_run)
        self._record(f"qemu {way.measure} run", way.over,
                     {"way": way.label, "round": len(self.runs[way]), **figures_of_run})

    def read(self, lines, ways):
        """The runs of a recorded report."""
        for entry in map(json.loads, lines):
            for way in ways:
                if ((entry["bench"], entry["over"], entry["record"].get("way")) ==
                        (f"qemu {way.measure} run", way.over, way.label)):
                    self.add(way, entry["record"])

    def _record(self, name, over, record):
        if self.as_json:
            print(json.dumps({"bench": name, "over": over,
                              "record": {**rounded(record), **self.about}},
                             ensure_ascii=False, separators=(",", ":")), flush=True)

    def conclude(self, aims):
        summaries = {way: summary(runs) for way, runs in self.runs.items()}
        for way, figures_of_way in summaries.items():
            self._record(f"qemu {way.measure}", way.over, {"way": way.label, **figures_of_way})
        if not self.as_json:
            for measure in sorted({way.measure for way in summaries}, reverse=True):
                self._table(measure, {way: found for way, found in summaries.items()
                                      if way.measure == measure})
            print("\n| ratio | medians | bests | aim |\n|---|---|---|---|")
        for aim in aims:
            self._aim(aim, {way.label: found for way, found in summaries.items()
                            if (way.over, way.measure) == (aim.over, aim.measure)})

    def _table(self, measure, summaries):
        if self.runs:
            print(f"\n| {measure} | " + " | ".join(heading for _, heading, _ in COLUMNS) + " |")
            print("|---|" + "---|" * len(COLUMNS))
        for way, found in summaries.items():
            print(f"| {way.label} | " + " | ".join(f"{found[key]:.{digits}f}"
                                                   for key, _, digits in COLUMNS) + " |")

    def _aim(self, aim, summaries):
        medians, bests = (ratio(aim, summaries, suffix) for suffix in ("", "_best"))
        if medians is None or bests is None:
            return
        self._record("qemu ratio", aim.over, {
            "ratio": aim.name, "medians": medians, "bests": bests, "wanted": aim.wanted,
            "met": medians >= aim.wanted and bests >= aim.wanted})
        if not self.as_json:
            print(f"| {aim.name} | {medians:.2f} | {bests:.2f} | ≥ {aim.wanted} |")
