"""Bar charts of benchmark results, as SVG: ``chart.py bench-gevent.json ...``.

Reads what ``bench/run.py --json`` wrote; draws with matplotlib, which is all
it needs. Each row has its own scale, from zero to the slowest implementation.
"""

import argparse
import json
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from report import is_coir, number, run_title

COIR, PEER, LIMIT = "#0f766e", "#b8c0cc", "#e2e8f0"
WIDTH, ROW = 4.2, 0.24  # inches: of a panel, and of one bar
COLUMNS = 2


def parse(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", metavar="JSON")
    parser.add_argument(
        "--suite", default="gevent", help="which of the results (gevent)")
    parser.add_argument(
        "--rows", nargs="+", metavar="NAME",
        help="which rows, in this order (default: all)")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="NAME",
        help="implementations to leave out")
    parser.add_argument("--into", required=True, metavar="FILE.svg")
    return parser.parse_args(argv)


def find(options):
    """The run that was asked for, of several the last one."""
    runs = [run for name in options.results
            for run in json.loads(Path(name).read_text())["runs"]
            if run["suite"] == options.suite]
    if not runs:
        raise SystemExit(f"no results of the suite {options.suite} in"
                         f" {', '.join(options.results)}")
    run = runs[-1]
    rows = {row["row"]: row for row in run["rows"]}
    missing = set(options.rows or ()) - set(rows)
    if missing:
        raise SystemExit(f"no such rows: {', '.join(sorted(missing))}; there"
                         f" are: {', '.join(rows)}")
    return run, [rows[name] for name in options.rows or rows]


def bars(row, names):
    """Names and medians of those that have one, the slowest first."""
    found = [(row["results"][name]["median"], name) for name in names
             if "median" in (row["results"].get(name) or {})]
    return sorted(found, reverse=True)


def draw_row(axes, row, names):
    found = bars(row, names)
    for place, (value, name) in enumerate(reversed(found)):
        axes.barh(place, value, height=0.72,
                  color=COIR if is_coir(name) else PEER)
        axes.annotate(
            f"{number(value)} {row['unit']}", (value, place), (4, 0),
            textcoords="offset points", va="center", fontsize=8,
            weight="bold" if is_coir(name) else "normal")
    axes.set_yticks(range(len(found)),
                    [name for _, name in reversed(found)], fontsize=8)
    axes.set_title(row["label"].replace("`", ""), fontsize=9, loc="left")
    axes.set_xlim(0, found[0][0] * 1.3)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in "top", "right", "bottom":
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(LIMIT)


def draw(run, rows, options):
    names = [name for name in run["implementations"]
             if name not in options.without]
    rows = [row for row in rows if bars(row, names)]
    lines = -(-len(rows) // COLUMNS)
    tallest = max(len(bars(row, names)) for row in rows)
    figure, grid = pyplot.subplots(
        lines, COLUMNS, squeeze=False, layout="constrained",
        figsize=(WIDTH * COLUMNS, (tallest * ROW + 0.4) * lines + 0.3))
    for axes in grid.flat[len(rows):]:
        axes.remove()
    for axes, row in zip(grid.flat, rows, strict=False):
        draw_row(axes, row, names)
    facts = run["facts"]
    figure.supxlabel(
        f"{run_title(run)}, {facts['cpu']}, {facts['date']}; less is better;"
        " each with its own scale",
        fontsize=7, color="#64748b")
    figure.savefig(options.into, metadata={"Date": None}, facecolor="white")


def main(argv=None):
    options = parse(argv)
    matplotlib.use("svg")
    matplotlib.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "coir",
        "font.family": "sans-serif"})
    run, rows = find(options)
    draw(run, rows, options)


if __name__ == "__main__":
    main()
