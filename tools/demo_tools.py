"""What all parts of the demo share: progress, children, pictures."""

import os
import pathlib
import subprocess
import sys

TIMEOUT = 120  # seconds for any child; far more than it needs


class DemoError(Exception):
    """Something did not do what this demo promises."""


class Screen:
    """Progress on one line of a terminal; plain lines anywhere else."""

    def __init__(self):
        self.tty = sys.stdout.isatty()

    def progress(self, text, detail=""):
        """Say what goes on; `detail` is for those who look on."""
        if self.tty:
            print(f"\r\033[K  ... {text}{detail}", end="", flush=True)
        elif not detail:
            print(f"  ... {text}", flush=True)

    def line(self, text=""):
        print(f"\r\033[K{text}" if self.tty else text, flush=True)

    def title(self, text):
        self.line()
        self.line(f"\033[1m{text}\033[0m" if self.tty else text)


screen = Screen()


# Children


def environment(coir_as):
    env = {k: v for k, v in os.environ.items() if k != "COIR_AS"}
    if coir_as:
        env["COIR_AS"] = coir_as
    return env


def run(command, coir_as="", timeout=TIMEOUT):
    try:
        return subprocess.run(
            command,
            env=environment(coir_as),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as exc:
        raise DemoError(f"{command[-1]} hangs: {exc}") from None


def cpu_seconds(pid):
    """CPU time, user and system, that the process has used."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Pictures


def ratio(figures):
    peer = (set(figures) - {"coir"}).pop()
    return figures[peer] / figures["coir"]


def show_bars(title, unit, figures):
    """A bar for each, as long as its figure."""
    width = 36
    longest = max(figures.values())
    for engine, figure in figures.items():
        bar = "#" * max(1, round(figure / longest * width))
        times = f"{ratio(figures):.1f} x" if engine == "coir" else ""
        screen.line(
            f"  {title:17} {engine:9}{figure:8.2f} {unit:8}{bar:{width}} "
            f"{times}".rstrip()
        )
        title = ""


def show_tables(*tables):
    screen.title("Summary")
    for rows in tables:
        names = list(rows[0][2])
        head = " ".join(f"{name:>9}" for name in names)
        screen.line(f"  {'':17} {'':8} {head} {'ratio':>8}")
        for title, unit, figures in rows:
            cells = " ".join(f"{figures[name]:9.2f}" for name in names)
            screen.line(
                f"  {title:17} {unit:8} {cells} {ratio(figures):6.1f} x"
            )
        screen.line()
