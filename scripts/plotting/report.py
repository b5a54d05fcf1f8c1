"""summary_report.txt and report.html."""
import base64
import datetime
import html
import io

from .results import KINDS, duration

COLUMNS = ["p50", "p95", "p99", "p99.9"]


# More than that are counted.
TARGETS_MAX = 2


def named_targets(targets):
    if len(targets) <= TARGETS_MAX:
        return ", ".join(f"{t['address']} ({t['role']}, {t['version']})" for t in targets)
    roles = [t["role"] for t in targets]
    kinds = [f"{roles.count(role)} {role}" for role in dict.fromkeys(roles)]
    versions = ", ".join(dict.fromkeys(t["version"] for t in targets))
    return f"{targets[0]['address']} … {targets[-1]['address']} ({', '.join(kinds)}; {versions})"


def table(runs):
    """A line a run."""
    width = max(len(run.name) for run in runs) + 2
    heads = ["reads/s", "writes/s", "P50 reads", "P99 reads", "P50 writes", "P99 writes", "stale", "of them", "failures"]
    lines = [" " * width + "".join(f"{head:>12}" for head in heads)]
    for run in runs:
        rates = run.statistics["throughput"]
        cells = [f"{rates['reads']:,.0f}", f"{rates['writes']:,.0f}"]
        for kind in ("reads", "writes"):
            summary = run.summary(kind)
            cells += [duration(summary["percentiles"][name]) if summary else "–" for name in ("p50", "p99")]
        stale = run.stale
        cells += [f"{stale['stale']:,}", f"{stale['percent']:.3f} %"] if stale["checked"] else ["–", "–"]
        cells.append(f"{run.statistics['failures']:,}")
        lines.append(f"{run.name:{width}}" + "".join(f"{cell:>12}" for cell in cells))
    return lines


def lines_of(run):
    statistics = run.statistics
    rates = statistics["throughput"]
    started = datetime.datetime.fromtimestamp(run.data["started"], datetime.timezone.utc)
    targets = named_targets(run.data["targets"])
    lines = [
        f"{run.name}: {run.load}",
        f"  {targets}; {run.parameters['distribution']} keys, values of "
        f"{run.parameters['value_bytes']:,} bytes",
        f"  {statistics['duration_seconds']:.2f} s from {started:%Y-%m-%d %H:%M:%S} UTC"
        + ("; interrupted" if statistics["interrupted"] else ""),
        f"  throughput {run.throughput:,.0f}/s: reads {rates['reads']:,.0f}, "
        f"writes {rates['writes']:,.0f}, scans {rates['scans']:,.0f}",
    ]
    head = ["", "count", "mean", *(name.upper() for name in COLUMNS), "max"]
    rows = [head]
    for kind in KINDS + ["read_modify_writes"]:
        summary = run.summary(kind)
        if summary:
            rows.append([kind.replace("_", "-"), f"{summary['count']:,}", duration(summary["mean"]),
                         *(duration(summary["percentiles"][name]) for name in COLUMNS),
                         duration(summary["max"])])
    lines += ["    " + f"{row[0]:20}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows]
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in run.data["failures"]["by_kind"].items())
    lines.append(f"  failures {statistics['failures']:,}" + (f": {kinds}" if kinds else ""))
    if statistics["never_sent"]:
        lines.append(f"  never sent {statistics['never_sent']:,}")
    stale = run.stale
    if stale["checked"]:
        lines.append(f"  stale reads {stale['stale']:,} of {stale['reads']:,} ({stale['percent']:.3f} %); "
                     f"{stale['concurrent']:,} more overlapped a write")
    if statistics.get("siblings"):
        lines.append(f"  siblings: {statistics['siblings']:,} reads found more than one version")
    interval = run.summary("read_write_intervals")
    if interval:
        lines.append(f"  read-write intervals: median {duration(interval['percentiles']['p50'])}, "
                     f"P95 {duration(interval['percentiles']['p95'])}, {interval['count']:,} of them")
    client = run.data["client"]
    lines.append(f"  client: {duration(client['processor_seconds_per_request'])} of processor time a "
                 f"request, busy {client['busy'] * 100:.0f} % of the time")
    return lines


def summary(runs):
    parts = [lines_of(run) for run in runs]
    if len(runs) > 1:
        parts.insert(0, table(runs))
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def page(runs, figures):
    """One file that needs no other.

    figures: (title, figure) in order.
    """
    parts = [
        "<!doctype html><meta charset=utf-8><title>kv bench</title>",
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;"
        "color:#222}img{max-width:100%;height:auto;border:1px solid #ddd;margin:.5rem 0}"
        "pre{background:#f6f6f6;padding:1rem;overflow:auto;font-size:13px}"
        "span{display:inline-block;width:.8em;height:.8em;margin-right:.4em}</style>",
        "<h1>kv bench</h1><ul>",
    ]
    for run in runs:
        parts.append(f"<li><span style='background:{run.colour}'></span><b>{html.escape(run.name)}</b>: "
                     f"{html.escape(run.load)}")
    parts.append("</ul>")
    for title, figure in figures:
        data = io.BytesIO()
        figure.savefig(data, format="png")
        image = base64.b64encode(data.getvalue()).decode()
        parts.append(f"<h2>{html.escape(title)}</h2>"
                     f"<img alt='{html.escape(title)}' src='data:image/png;base64,{image}'>")
    parts.append(f"<h2>Figures</h2><pre>{html.escape(summary(runs))}</pre>")
    return "\n".join(parts) + "\n"
