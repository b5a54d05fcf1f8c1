"""The plots. Each function returns a figure, or None where there is nothing to show."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from .results import colours, configurations, duration, is_matrix  # noqa: E402

PERCENTILES = [("P50", "p50"), ("P95", "p95"), ("P99", "p99")]
COMPARED = ["p50", "p95", "p99", "p99.9"]
MARK = "#444444"
# More runs than that in one plot cannot be told apart.
TOGETHER_MAX = 6

plt.rcParams.update({
    "figure.dpi": 110, "figure.max_open_warning": 0, "font.size": 10, "axes.titlesize": 11, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "legend.frameon": False,
})


def seconds_axis(axis, low, high):
    """A logarithmic axis of seconds whose ticks are durations, three a decade where there is room."""
    subs = (1, 2, 5) if high < low * 100 else (1, 3) if high < low * 10_000 else (1,)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_formatter(NullFormatter())


def short(seconds):
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")):
        if seconds >= scale * 0.999:
            return f"{seconds / scale:g} {unit}"
    return f"{seconds:g} s"


def count_axis(axis):
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def mark_percentiles(axes, summary, **place):
    """Lines at P50, P95 and P99. What they are is said in a legend: labels beside them would overlap."""
    lines = []
    for (label, name), style in zip(PERCENTILES, ["-", "--", ":"]):
        value = summary["percentiles"][name]
        lines.append(axes.axvline(value, color=MARK, linestyle=style, linewidth=1.2,
                                  label=f"{label} = {duration(value)}"))
    axes.legend(handles=lines, fontsize=9, **place)


def cumulated(summary):
    """Durations, and for each the percentage of all that are not longer."""
    values, shares, total = [summary["min"]], [0.0], 0
    for _, end, count in summary["buckets"]:
        total += count
        values.append(min(end, summary["max"]))
        shares.append(total / summary["count"] * 100)
    return values, shares


def latency(run):
    """Histogram and cumulative distribution of each kind of requests of one run, and of its read-write intervals."""
    shown = [(kind, f"% of {kind}", f"% of {kind} not slower", "latency") for kind in run.kinds]
    if not shown:
        return None
    if run.summary("read_write_intervals"):
        shown.append(("read_write_intervals", "% of reads", "% of reads not later",
                      "from the latest acknowledged write of the key to the read"))
    figure, grid = plt.subplots(len(shown), 2, figsize=(10, 0.5 + 2.9 * len(shown)), squeeze=False)
    for row, (kind, part, share, label) in zip(grid, shown):
        summary = run.summary(kind)
        histogram(row[0], run, kind.replace("_", "-", 1).replace("_", " "), part, summary)
        cumulative(row[1], run, share, summary)
        low, high = max(1e-7, summary["min"]) * 0.8, summary["max"] * 1.25
        for axes in row:
            axes.set_xscale("log")
            axes.set_xlim(low, high)
            seconds_axis(axes.xaxis, low, high)
            axes.set_xlabel(label)
    figure.suptitle(f"{run.name}: {run.load}", fontsize=12, x=0.01, ha="left")
    figure.tight_layout()
    return figure


def histogram(axes, run, title, label, summary):
    low = max(1e-7, summary["min"])
    edges = [max(low * 0.95, bucket[0]) for bucket in summary["buckets"]]
    widths = [max(0, bucket[1] - edge) for bucket, edge in zip(summary["buckets"], edges)]
    parts = [bucket[2] / summary["count"] * 100 for bucket in summary["buckets"]]
    axes.bar(edges, parts, widths, align="edge", color=run.colour, linewidth=0)
    # Room for the legend.
    axes.set_ylim(0, max(parts) * 1.2)
    axes.set_ylabel(label)
    axes.set_title(f"{title}: {summary['count']:,}, mean {duration(summary['mean'])}, "
                   f"max {duration(summary['max'])}", loc="left")
    mark_percentiles(axes, summary, loc="upper center", ncol=3, columnspacing=1, handlelength=1.5,
                     frameon=True, framealpha=1, edgecolor="none", borderpad=0.1)


def cumulative(axes, run, label, summary):
    axes.plot(*cumulated(summary), color=run.colour, linewidth=1.8)
    axes.set_ylim(0, 101)
    axes.set_ylabel(label)
    axes.set_title("cumulative", loc="left")
    mark_percentiles(axes, summary, loc="lower right", frameon=True, framealpha=1, edgecolor="none")


def panels(runs, draw, title, x, y):
    """Draws all runs into one plot, or each into a small one of its own where they are too many.

    draw(axes, run) returns the label of the run.
    """
    if len(runs) <= TOGETHER_MAX:
        figure, axes = plt.subplots(figsize=(10, 4.4))
        for run in runs:
            axes.plot([], [], color=run.colour, label=draw(axes, run))
        axes.set_title(title, loc="left")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if len(runs) > 1:
            legend(axes, len(runs))
        grid = [axes]
    else:
        rows = -(-len(runs) // 4)
        figure, grid = plt.subplots(rows, 4, figsize=(12, 0.8 + 2.1 * rows), sharex=True, sharey=True)
        grid = list(grid.flat)
        for axes, run in zip(grid, runs):
            axes.set_title(draw(axes, run).replace(" (", "\n("), loc="left", fontsize=9)
            axes.tick_params(labelsize=8)
        for axes in grid[len(runs):]:
            axes.set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        figure.supxlabel(x, fontsize=10)
        figure.supylabel(y, fontsize=10)
    return figure, grid


def intervals(runs):
    """How long after the latest acknowledged write of its key a read began."""
    shown = [run for run in runs if run.summary("read_write_intervals")]
    if not shown:
        return None
    low, high = 1e9, 0

    def draw(axes, run):
        nonlocal low, high
        summary = run.summary("read_write_intervals")
        values, shares = cumulated(summary)
        # Where it begins to be more than a handful.
        low = min([low] + [value for value, share in zip(values, shares) if share >= 0.5])
        high = max(high, summary["max"])
        axes.plot(values, shares, color=run.colour, linewidth=1.8)
        return f"{run.name} (median {duration(summary['percentiles']['p50'])})"

    figure, grid = panels(shown, draw, "Read-write intervals",
                          "from the latest acknowledged write of a key to a read of it",
                          "% of reads not later")
    low = max(low, 1e-6)
    for axes in grid:
        axes.set_xscale("log")
        axes.set_xlim(low, high * 1.1)
        axes.set_ylim(0, 101)
        # Small plots have room for few.
        seconds_axis(axes.xaxis, low, high if len(grid) == 1 else high * 1e6)
    figure.tight_layout()
    return figure


def throughput(runs):
    """Requests answered over time; crosses where some failed."""
    has_failures = False

    def draw(axes, run):
        nonlocal has_failures
        series = run.data["throughput_over_time"]
        interval = series["interval_seconds"]
        points = series["points"]
        # The last interval is cut off by the end of the run.
        points = points[:-1] if len(points) > 2 else points
        times = [point["time"] + interval / 2 for point in points]
        rates = [(point["reads"] + point["writes"]) / interval for point in points]
        axes.plot(times, rates, color=run.colour, linewidth=1.4)
        failed = [(t, r) for t, r, point in zip(times, rates, points) if point["failures"]]
        if failed:
            has_failures = True
            axes.plot(*zip(*failed), "x", color=run.colour, markersize=7, markeredgewidth=2)
        return run.name

    figure, grid = panels(runs, draw, "Throughput over time", "seconds since the measurement began",
                          "requests answered a second")
    for axes in grid:
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        count_axis(axes.yaxis)
    if has_failures:
        figure.text(0.99, 0.01, "× some failed", ha="right", color=MARK)
    figure.tight_layout()
    return figure


def comparison(runs):
    """All runs side by side: percentiles by kind, throughput, stale reads where they were judged."""
    if len(runs) < 2:
        return None
    kinds = [kind for kind in ("reads", "writes", "scans") if any(run.summary(kind) for run in runs)]
    judged = any(run.stale["checked"] for run in runs)
    panels = len(kinds) + 1 + judged
    height = 1.2 + 0.32 * len(runs)
    figure, grid = plt.subplots(panels, 1, figsize=(9, height * panels), squeeze=False)
    grid = list(grid[:, 0])
    rows = list(range(len(runs)))
    for kind in kinds:
        percentile_rows(grid.pop(0), runs, rows, kind)
    bars(grid.pop(0), runs, rows, [run.throughput for run in runs],
         "Throughput, requests answered a second", [f"{run.throughput:,.0f}" for run in runs])
    if judged:
        bars(grid.pop(0), runs, rows, [run.stale["percent"] for run in runs],
             "Stale reads, % of those that were judged",
             [f"{run.stale['stale']:,} of {run.stale['reads']:,}" if run.stale["checked"] else "not judged"
              for run in runs])
    figure.tight_layout()
    return figure


def matrix(runs):
    """P99, throughput and stale reads: a group of bars for each part of writes, a bar for each configuration."""
    if not is_matrix(runs):
        return None
    figure, grid = plt.subplots(2, 2, figsize=(12, 7.6))
    grid = list(grid.flat)
    for kind in ("reads", "writes"):
        axes = grid.pop(0)
        grouped(axes, runs, lambda run: run.summary(kind) and run.summary(kind)["percentiles"]["p99"] * 1_000,
                lambda value: f"{value:.1f}" if value < 100 else f"{value:,.0f}")
        axes.set_title(f"P99 latency of {kind}, ms", loc="left")
    axes = grid.pop(0)
    grouped(axes, runs, lambda run: run.throughput, lambda value: f"{value / 1_000:.1f}k" if value >= 1_000 else f"{value:.0f}")
    axes.set_title("Throughput, requests answered a second", loc="left")
    axes = grid.pop(0)
    grouped(axes, runs, lambda run: run.stale["percent"] if run.stale["checked"] else None,
            lambda value: f"{value:.2g}")
    if not any(run.stale["stale"] for run in runs):
        axes.set_ylim(0, 1)
    judged = sum(run.stale["reads"] for run in runs)
    axes.set_title(f"Stale reads, % ({sum(run.stale['stale'] for run in runs):,} of {judged:,} that were judged)", loc="left")
    order = configurations(runs)
    bars = [plt.Rectangle((0, 0), 1, 1, color=shade) for shade in colours(len(order))]
    names = [next(run.configuration for run in runs if run.quorums == each) for each in order]
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.legend(bars, names, loc="upper left", ncol=len(order), bbox_to_anchor=(0.005, 1), fontsize=10)
    return figure


def grouped(axes, runs, value, text):
    """value(run) is None where there is nothing to show."""
    ratios = sorted({run.writes for run in runs})
    order = configurations(runs)
    shades = colours(len(order))
    width = 0.84 / len(order)
    highest = 0
    for run in runs:
        found = value(run)
        if found is None:
            continue
        highest = max(highest, found)
        place = order.index(run.quorums)
        drawn = axes.bar(ratios.index(run.writes) + (place - (len(order) - 1) / 2) * width, found, width * 0.92,
                         color=shades[place])
        axes.bar_label(drawn, [text(found)], padding=2, fontsize=7)
    axes.set_xticks(range(len(ratios)), [f"{ratio:g} % writes" for ratio in ratios])
    axes.set_ylim(0, highest * 1.12 or 1)
    axes.grid(axis="x", visible=False)
    count_axis(axes.yaxis)
    if highest < 10:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def percentile_rows(axes, runs, rows, kind):
    markers = ["o", "s", "D", "^"]
    for row, run in zip(rows, runs):
        summary = run.summary(kind)
        if not summary:
            continue
        values = [summary["percentiles"][name] for name in COMPARED]
        axes.plot(values, [row] * len(values), color=run.colour, linewidth=1.2, alpha=0.6)
        for value, marker in zip(values, markers):
            axes.plot(value, row, marker, color=run.colour, markersize=7)
    for name, marker in zip(COMPARED, markers):
        axes.plot([], [], marker, color=MARK, label=name.upper())
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    seconds_axis(axes.xaxis, low, high)
    axes.set_title(f"Latency of {kind}", loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncol=4, fontsize=9, borderaxespad=0)
    name_rows(axes, runs, rows)


def bars(axes, runs, rows, values, title, labels):
    drawn = axes.barh(rows, values, color=[run.colour for run in runs], height=0.6)
    axes.bar_label(drawn, labels, padding=4, fontsize=9)
    axes.set_xlim(0, max(values) * 1.25 or 1)
    count_axis(axes.xaxis)
    if max(values) < 10:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title(title, loc="left")
    name_rows(axes, runs, rows)


def name_rows(axes, runs, rows):
    axes.set_yticks(rows, [run.name for run in runs])
    axes.set_ylim(len(runs) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def sweep(runs, parameter, other):
    """P99 and throughput over one parameter, a line for each value of the other."""
    if len({run.parameters[parameter] for run in runs}) < 2:
        return None
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 7.4), sharex=True)
    groups = sorted({run.parameters[other] for run in runs})
    for group in groups:
        members = sorted((run for run in runs if run.parameters[other] == group),
                         key=lambda run: run.parameters[parameter])
        colour = members[0].colour
        label = f"{group:,} {other}"
        places = [run.parameters[parameter] for run in members]
        top.plot(places, [run.throughput for run in members], "o-", color=colour, label=label)
        for kind, style in (("reads", "o-"), ("writes", "s--")):
            points = [(place, run.summary(kind)["percentiles"]["p99"])
                      for place, run in zip(places, members) if run.summary(kind)]
            if points:
                bottom.plot(*zip(*points), style, color=colour,
                            label=label if kind == "reads" else None)
    for axes in (top, bottom):
        axes.set_xscale("log")
    ticks = sorted({run.parameters[parameter] for run in runs})
    bottom.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    bottom.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    top.set_ylim(bottom=0)
    count_axis(top.yaxis)
    top.set_ylabel("requests answered a second")
    top.set_title(f"Throughput by {parameter}", loc="left")
    top.legend(fontsize=9)
    bottom.set_yscale("log")
    seconds_axis(bottom.yaxis, *bottom.get_ylim())
    bottom.set_xlabel(parameter)
    bottom.set_ylabel("P99 latency")
    bottom.set_title(f"P99 by {parameter}", loc="left")
    kinds = {kind for run in runs for kind in run.kinds}
    if kinds >= {"reads", "writes"}:
        bottom.plot([], [], "o-", color=MARK, label="reads")
        bottom.plot([], [], "s--", color=MARK, label="writes")
        handles, labels = bottom.get_legend_handles_labels()
        bottom.legend(handles[-2:], labels[-2:], fontsize=9)
    figure.tight_layout()
    return figure


def legend(axes, count):
    """Above the plot, where it hides nothing."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncol=min(3, count), fontsize=9,
                borderaxespad=0.2)
