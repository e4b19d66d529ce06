"""Tables of results, for the terminal and for docs/bench.md."""

import statistics

from targets import LIMITS

#: where the tables of a page begin: those of the event loop, of green
#: threads, of those in Python, and the others.
BEGIN_LOOP = "<!-- loop tables: bench/run.py --markdown -->"
BEGIN_HUB = "<!-- hub tables: bench/run.py --markdown -->"
BEGIN_GEVENT = "<!-- gevent tables: bench/run.py --markdown -->"
BEGIN_EVENTLET = "<!-- eventlet tables: bench/run.py --markdown -->"
BEGIN_PARSE = "<!-- parse tables: bench/run.py --markdown -->"
BEGIN_HTTP = "<!-- http tables: bench/run.py --markdown -->"
BEGIN = "<!-- tables: bench/run.py --markdown -->"
END = "<!-- end of tables -->"


def summary(samples):
    """Median, least and the quartiles of all samples of all rounds."""
    if len(samples) == 1:
        q1 = q3 = samples[0]
    else:
        q1, _, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return {
        "median": statistics.median(samples),
        "min": min(samples),
        "q1": q1,
        "q3": q3,
        "samples": samples,
    }


def median_notes(notes):
    """The further figures of all rounds: of each its median."""
    return {name: statistics.median(note[name] for note in notes)
            for name in notes[0]}


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def ratio_text(ratio):
    return f"{ratio:.1f} x" if ratio < 10 else f"{ratio:.0f} x"


def cell(result, unit, spread=True):
    if result is None:
        return ""
    if "error" in result:
        return result["error"]
    text = f"{number(result['median'])} {unit}"
    if spread and len(result["samples"]) > 1:
        text += (
            f" (min {number(result['min'])},"
            f" IQR {number(result['q3'] - result['q1'])})"
        )
    return text


def is_coir(name):
    return name.split()[0] == "Coir"


def coir_result(row, implementations):
    """That of Coir, or of the first form of it that a suite measures."""
    name = row.get("judged") or next(filter(is_coir, implementations))
    return row["results"].get(name) or {}


def ratio(row, implementations):
    """Median of the best peer over Coir's; None if either is missing."""
    results = row["results"]
    coir = coir_result(row, implementations)
    peers = [
        results[name]["median"]
        for name in implementations
        if not is_coir(name) and name not in LIMITS
        and "median" in (results.get(name) or {})
    ]
    if not peers or not coir.get("median"):
        return None
    return min(peers) / coir["median"]


def target_text(row):
    text = []
    if row["target"] is not None:
        text.append(f"{number(row['target'])} {row['unit']}")
    if row["target_ratio"] is not None:
        text.append(f"{row['target_ratio']:g} x")
    return ", ".join(text)


def verdict(row, implementations):
    """Which of a row's targets are met, in words."""
    coir = coir_result(row, implementations)
    if "median" not in coir:
        return "no figure" if target_text(row) else ""
    parts = []
    if row["target"] is not None:
        parts.append(coir["median"] <= row["target"])
    reached = ratio(row, implementations)
    if row["target_ratio"] is not None and reached is not None:
        parts.append(reached >= row["target_ratio"])
    if not parts:
        return ""
    if all(parts):
        return "met"
    if not any(parts):
        return "**missed**"
    return "figure only" if parts[0] else "ratio only"


def run_title(run):
    titles = {
        "core": "libcoir", "loop": "Event loop", "hub": "Green threads",
        "parse": "HTTP messages",
        "echo": "TCP echo, CPU time of the server for a message",
    }
    titles["gevent echo"] = titles["eventlet echo"] = titles["echo"]
    python = run["facts"].get("python")
    parts = [f"CPython {python}"] if python else []
    return ": ".join(parts + [titles[s] for s in [run["suite"]]
                              if s in titles])


def counts_text(result):
    """Instructions and system calls per operation, where counted."""
    text = []
    if "instructions" in result:
        text.append(f"{number(result['instructions'])} instr.")
    if "system_calls" in result:
        calls = result["system_calls"]
        text.append(f"{calls:.2f} calls" if calls < 10 else
                    f"{number(calls)} calls")
    return ", ".join(text)


def further_table(run, text, head):
    """A further table of texts of results, if there are any."""
    names = run["implementations"]
    lines = []
    for row in run["rows"]:
        cells = [text(row["results"].get(n) or {}) for n in names]
        if any(cells):
            lines.append(f"| {row['label']} | " + " | ".join(cells) + " |")
    if not lines:
        return []
    return ["", head, "", "| | " + " | ".join(names) + " |",
            "|---" * (len(names) + 1) + "|", *lines]


def traffic_text(result):
    """Of an echo server: how much, and how fast an answer came."""
    note = result.get("note", {})
    if "rate" not in note:
        return ""
    return (f"{number(note['rate'])}/s, {number(note['p50_us'])} us,"
            f" {number(note['p99_us'])} us")


def is_echo(run):
    """Do clients ask servers, which is told of by more than one figure?"""
    return run["suite"] == "http" or run["suite"].endswith("echo")


def markdown_run(run):
    names = run["implementations"]
    # What Coir stands in for may not be the best of the peers.
    ratios = {"ratio": names}
    if run["suite"].startswith("gevent"):
        ratios["to gevent"] = ["gevent", "Coir"]
    head = [*names, *ratios, "target"]
    lines = [
        "| | " + " | ".join(head) + " | |",
        "|---" * (len(head) + 2) + "|",
    ]
    for row in run["rows"]:
        cells = [cell(row["results"].get(n), row["unit"]) for n in names]
        for some in ratios.values():
            reached = ratio(row, some)
            cells.append(ratio_text(reached) if reached else "")
        cells += [target_text(row), verdict(row, names)]
        lines.append(f"| {row['label']} | " + " | ".join(cells) + " |")
    if is_echo(run):
        lines += further_table(
            run, traffic_text, "Messages, or requests, in a second, and the"
            " time after which half and 99 % of them were back, all"
            " connections always busy:")
    lines += further_table(
        run, counts_text, "Instructions, without the kernel's, and system"
        " calls of an operation:")
    notes = [text for row in run["rows"] for text in notes_of(row)
             if not is_echo(run)]
    if notes:
        lines += ["", "Further figures: " + "; ".join(notes) + "."]
    return "\n".join(lines)


def notes_of(row):
    """A row's further figures; without a name if they are all the same."""
    notes = {
        name: [f"{note.replace('_', ' ')} {number(value)}"
               for note, value in (result or {}).get("note", {}).items()]
        for name, result in row["results"].items()
    }
    distinct = {tuple(texts) for texts in notes.values()}
    if len(notes) > 1 and len(distinct) == 1:
        return [f"{row['label']}: {text}" for text in distinct.pop()]
    return [f"{row['label']}, {name}: {text}"
            for name, texts in notes.items() for text in texts]


def facts_text(run):
    facts = run["facts"]
    keys = ("date", "kernel", "cpu", "libc", "compiler", "greenlet", "gevent",
            "eventlet", "uvloop", "libev",
            "libuv", "boost.fiber", "State Threads", "Go", "coir", "commit",
            "context", "guards", "rounds", "load", "load_end", "environment")
    return "; ".join(
        f"{key.replace('_', ' ')}: {facts[key]}" for key in keys
        if facts.get(key)
    )


def markdown(runs):
    """The tables of several runs, a section each, greenlet's suite first."""
    order = sorted(
        runs, key=lambda run: (run["suite"] != "greenlet", version_key(run))
    )
    parts = []
    for run in order:
        parts.append(f"### {run_title(run)}\n\n{facts_text(run)}\n")
        parts.append(markdown_run(run) + "\n")
    return "\n".join(parts)


def version_key(run):
    version = run["facts"].get("python", "0")
    return [int(part) for part in version.split(".") if part.isdigit()]


def replace_tables(page, runs):
    """The page's text with the tables of these runs between its marks."""
    loop = [run for run in runs if run["suite"] == "loop"]
    hub = [run for run in runs if run["suite"] in ("hub", "echo")]
    gevent = [run for run in runs if run["suite"].startswith("gevent")]
    eventlet = [run for run in runs if run["suite"].startswith("eventlet")]
    parse = [run for run in runs if run["suite"] == "parse"]
    http = [run for run in runs if run["suite"] == "http"]
    others = [run for run in runs
              if run not in loop + hub + gevent + eventlet + parse + http]
    for mark, some in ((BEGIN_LOOP, loop), (BEGIN_HUB, hub),
                       (BEGIN_GEVENT, gevent), (BEGIN_EVENTLET, eventlet),
                       (BEGIN_PARSE, parse), (BEGIN_HTTP, http),
                       (BEGIN, others)):
        if not some:
            continue
        head, begin, rest = page.partition(mark)
        _, end, tail = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"the page has no lines {mark} and {END}")
        page = f"{head}{mark}\n\n{markdown(some)}\n{END}{tail}"
    return page
