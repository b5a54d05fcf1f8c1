"""The plot of what measure-replication has found."""
from .figures import MARK, count_axis, plt
from .results import duration

COLOURS = ["#888888", "#1f77b4", "#d62728"]


def figure(found):
    """Four plots in one figure. `found` is the whole file."""
    whole, grid = plt.subplots(2, 2, figsize=(11, 7.2))
    throughput(grid[0][0], found["throughput"])
    visible(grid[0][1], found["probe"])
    over_time(grid[1][0], found["probe"])
    catching_up(grid[1][1], found["catch_up"])
    whole.suptitle(f"Replication, {found['date']}: {found['cores']} cores, shared by nodes and load", fontsize=12, x=0.01,
                   ha="left")
    whole.tight_layout()
    return whole


def throughput(axes, rates):
    bars = axes.bar(list(rates), list(rates.values()), color=COLOURS, width=0.6)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates.values()], padding=2)
    axes.set_ylim(0, max(rates.values()) * 1.15)
    axes.set_ylabel("writes/s")
    count_axis(axes.yaxis)
    axes.set_title("throughput, 64 connections, each write on the disk", loc="left")


def visible(axes, probe):
    """The share of writes that were visible at the replica after a time."""
    for name, label, colour in (("behind_answer_seconds", "from the answer", COLOURS[1]),
                                ("behind_begin_seconds", "from its begin", COLOURS[2])):
        values = sorted(probe[name + "_all"])
        shares = [(place + 1) / len(values) * 100 for place in range(len(values))]
        axes.plot([value * 1e3 for value in values], shares, color=colour, linewidth=1.8,
                  label=f"{label}: P50 {duration(probe[name]['p50'])}, P99 {duration(probe[name]['p99'])}")
    axes.axvline(10, color=MARK, linestyle=":", linewidth=1.2)
    axes.set_xlim(0, max(12, probe["behind_begin_seconds"]["p99"] * 1.5e3))
    axes.set_ylim(0, 101)
    axes.set_xlabel("ms")
    axes.set_ylabel("% of writes visible at the replica")
    axes.legend(loc="lower right", fontsize=9)
    axes.set_title(f"a write becomes visible, beside {probe['writes_per_second']:,.0f} writes/s", loc="left")


def over_time(axes, probe):
    times, lags = zip(*probe["series"])
    axes.plot(times, [lag * 1e3 for lag in lags], color=COLOURS[1], marker=".", markersize=3, linewidth=0)
    axes.axhline(10, color=MARK, linestyle=":", linewidth=1.2)
    axes.set_ylim(0, max(11, max(lags) * 1.05e3))
    axes.set_xlabel("s")
    axes.set_ylabel("ms")
    axes.set_title("the same over time, behind the leader's answer", loc="left")


def catching_up(axes, found):
    for name, colour in (("log", COLOURS[1]), ("snapshot", COLOURS[2])):
        one = found[name]
        axes.plot([row[0] for row in one["series"]], [row[1] for row in one["series"]], color=colour, linewidth=1.8,
                  label=f"by the {name}: {one['seconds']:.1f} s, {one['per_second']:,.0f} keys/s")
    axes.set_xlabel("s since the replica's process began")
    axes.set_ylabel("records that it has applied")
    count_axis(axes.yaxis)
    axes.legend(loc="lower right", fontsize=9)
    axes.set_title(f"an empty replica, {found['keys']:,} keys of {found['value_bytes']} bytes", loc="left")
