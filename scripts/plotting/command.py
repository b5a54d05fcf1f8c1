"""The command line of plot-results."""
import argparse
import os
import sys

from . import figures, report
from .results import Unusable, load


def drawn(runs, parameter, other):
    """(title, name of the file, figure), those that have something to show."""
    plots = []
    if parameter:
        plots.append((f"By {parameter}", f"by-{parameter}", figures.sweep(runs, parameter, other)))
    plots += [
        ("All runs", "matrix", figures.matrix(runs)),
        ("Comparison", "comparison", figures.comparison(runs)),
        ("Throughput over time", "throughput", figures.throughput(runs)),
        ("Read-write intervals", "intervals", figures.intervals(runs)),
    ]
    plots += [(f"Latency and read-write intervals: {run.name}", f"latency-{run.name}", figures.latency(run)) for run in runs]
    return [plot for plot in plots if plot[2]]


def main(text):
    parser = argparse.ArgumentParser(
        prog="plot-results", description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", metavar="RESULT.json")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--by", choices=["connections", "keys"])
    arguments = parser.parse_args()
    # What tells the lines apart.
    other = {None: None, "connections": "keys", "keys": "connections"}[arguments.by]
    try:
        runs = load(arguments.results, other)
    except Unusable as error:
        print(f"plot-results: {error}", file=sys.stderr)
        return 1
    os.makedirs(arguments.out, exist_ok=True)
    plots = drawn(runs, arguments.by, other)
    for _, name, figure in plots:
        figure.savefig(os.path.join(arguments.out, f"{name}.png"))
    with open(os.path.join(arguments.out, "summary_report.txt"), "w") as file:
        file.write(report.summary(runs))
    with open(os.path.join(arguments.out, "report.html"), "w") as file:
        file.write(report.page(runs, [(title, figure) for title, _, figure in plots]))
    print(f"{arguments.out}: {len(plots)} plots, summary_report.txt, report.html")
    return 0
