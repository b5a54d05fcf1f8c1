"""Results as `kv bench --output` writes them; docs/bench.md describes the file."""
import colorsys
import json
import os

VERSION = 1

# Okabe and Ito: told apart by everybody, in print too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999"]
# Kinds of requests, as `statistics` names them.
KINDS = ["reads", "writes", "scans"]


class Unusable(Exception):
    """A file that cannot be plotted, and why."""


class Run:
    """One result, with the name and the colour that it has everywhere."""

    def __init__(self, path):
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.colour = COLOURS[0]
        try:
            with open(path) as file:
                self.data = json.load(file)
        except (OSError, ValueError) as error:
            raise Unusable(f"{path}: {error}") from error
        if not isinstance(self.data, dict) or self.data.get("version") != VERSION:
            raise Unusable(f"{path}: not a result of kv bench, version {VERSION}")
        self.statistics = self.data["statistics"]
        self.parameters = self.data["parameters"]

    def summary(self, kind):
        """Of a kind of requests; None when there were none."""
        summary = self.statistics[kind]
        return summary if summary["count"] else None

    @property
    def kinds(self):
        return [kind for kind in KINDS if self.summary(kind)]

    @property
    def throughput(self):
        return self.statistics["throughput"]["total"]

    @property
    def stale(self):
        return self.data["stale_reads"]

    @property
    def quorums(self):
        """Mode, W and R: None where the run did not say them."""
        p = self.parameters
        return (self.data["mode"], p["w"], p.get("r", 0)) if p["w"] and p.get("r", 0) else None

    @property
    def configuration(self):
        """The quorums, for people."""
        mode, write, read = self.quorums
        return f"{mode} W{write}R{read}"

    @property
    def writes(self):
        """In percent, of what was asked for."""
        return self.parameters["mix"]["updates"] * 100

    @property
    def load(self):
        """What the run was, in a few words."""
        p = self.parameters
        if p["workload"] == "write-ratio":
            what = f"{p['mix']['updates'] * 100:g} % writes"
        else:
            what = f"YCSB {p['workload']}"
        loop = f"open loop, {p['operations_per_second']:g}/s" if p["loop"] == "open" else "closed loop"
        ends = "connection" if p["connections"] == 1 else "connections"
        return f"{what}, {loop}, {p['connections']:,} {ends}, {p['keys']:,} keys"


def load(paths, group=None):
    """The runs, each with its colour: one of its own, or that of its group.

    group: the parameter whose value makes a group; None for no groups.
    """
    runs = [Run(path) for path in paths]
    check_names(runs)
    if not group and is_matrix(runs):
        return arranged(runs)
    values = [run.parameters[group] if group else run.name for run in runs]
    shades = colours(len(set(values)))
    order = sorted(set(values)) if group else list(dict.fromkeys(values))
    for run, value in zip(runs, values):
        run.colour = shades[order.index(value)]
    return runs


def check_names(runs):
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise Unusable(f"two results are named {name}: name files differently")


def is_matrix(runs):
    """Whether they are of several configurations, or parts of writes, and each of one of its own."""
    places = [(run.quorums, run.writes) for run in runs if run.parameters["workload"] == "write-ratio" and run.quorums]
    return len(runs) > 1 and len(places) == len(runs) == len(set(places))


def configurations(runs):
    """Those of a matrix, in order: leaderless ones behind the others, more written to first."""
    return sorted({run.quorums for run in runs}, key=lambda each: (each[0] == "leaderless", -each[1], each[2]))


def arranged(runs):
    """A matrix in its order: a hue for each configuration, the darker the more is written."""
    order = configurations(runs)
    hues = colours(len(order))
    ratios = sorted({run.writes for run in runs})
    for run in runs:
        # From half white to the whole colour.
        strength = 1 if len(ratios) == 1 else 0.5 + 0.5 * ratios.index(run.writes) / (len(ratios) - 1)
        run.colour = mixed(hues[order.index(run.quorums)], strength)
    return sorted(runs, key=lambda run: (order.index(run.quorums), run.writes))


def mixed(colour, strength):
    """With white, where the strength is below 1."""
    parts = [int(colour[index:index + 2], 16) for index in (1, 3, 5)]
    return "#%02x%02x%02x" % tuple(round(255 - (255 - part) * strength) for part in parts)


def colours(count):
    """That many, no two alike."""
    if count <= len(COLOURS):
        return COLOURS[:count]
    # Around the circle of hues, light and dark in turns.
    return ["#%02x%02x%02x" % tuple(round(part * 255) for part in
                                    colorsys.hsv_to_rgb(index / count, 0.85, 0.9 if index % 2 else 0.6))
            for index in range(count)]


def duration(seconds):
    """For people, three digits."""
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale:
            break
    value = seconds / scale
    return f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"
