"""The command that measures the goals: in rounds, kept as they are found, and told as one table."""

import dataclasses
import json
import pathlib
import subprocess
import time

from measure.goals import fanout, ingest, live, memory, scenarios, states
from measure.goals.bars import chosen, judge, table
from measure.goals.reference import Reference
from measure.goals.wanted import BARS
from measure.servers import RELEASE

# What a round of each takes, in minutes, beside what its states take once; in the order in which they run.
GROUPS = {
    "ingest": (ingest.round_of, 1.5),
    "live": (live.round_of, 2),
    "pages": (states.pages, 1.5),
    "joined": (fanout.joined, 1),
    "fanout": (fanout.round_of, 4.5),
    "memory": (memory.memory, 5),
    "spread": (states.spread, 5),
    "restart": (states.restart, 1),
    "kills": (scenarios.kills, 12),
}
STATES = {
    "pages": "a conversation of a million messages, made once: 3 minutes",
    "spread": "a million conversations, made once: 3 to 6 minutes",
    "restart": "a million and ten million messages, made once: 2 and 15 minutes",
}


@dataclasses.dataclass
class Lab:
    dir: pathlib.Path
    reference: Reference
    seconds: float
    quiet: float
    shrink: int
    rounds: dict
    failed: dict

    def tell(self, name, row):
        told = ", ".join(f"{key} {value:.4g}" if isinstance(value, (int, float)) else f"{key} {value}" for key, value in row.items())
        print(f"  {name}: {told}", flush=True)

    def turn(self, group):
        """How many rounds of it there are already."""
        return len(self.rounds.get(group, []))

    def scaled(self, number):
        """So many; fewer where the run is only to try the command."""
        return max(1000, number // self.shrink)


def commit():
    words = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "unknown"


def kept(path, settings, resume, groups):
    """Rounds of an earlier run of the same program in the same way; without `--resume` these groups begin anew,
    and what is kept of others stays."""
    ways, rounds = ("release", "seconds", "shrink"), {}
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [(line, json.loads(line)) for line in lines if line.endswith("\n")]
    if not resume:
        found = [(line, one) for line, one in found if one["group"] not in groups]
    path.write_text("".join(line for line, _ in found))
    for _, one in found:
        if all(one["settings"][way] == settings[way] for way in ways):
            rounds.setdefault(one["group"], []).append(one["rows"])
    return rounds


def goals(args):
    """Measures the goals, each as a ratio to what was measured in the same round, in rounds one after the
    other; the figures are medians. Before each case the share of the processors that nobody used is printed.
    Every round is kept in DIR/goals.jsonl as soon as it is there: after an interruption `--resume` goes on
    behind it, and the table of what is there is printed in any case. What lacks its reference is `not
    measured`, never met. Ends with 1 where a goal is missed."""
    bench = args.bench.resolve()
    wanted = chosen(args.only, BARS)
    args.dir.mkdir(parents=True, exist_ok=True)
    reference = Reference(bench, args.dir, args.limits and args.limits.resolve())
    reference.build()
    for program in ("limits", "nchan", "socket.io", "express"):
        if why := reference.why(program):
            print(f"{program} is not measured: {why}")
    settings = {"commit": commit(), "release": round((RELEASE / "omnistream").stat().st_mtime), "seconds": args.seconds, "shrink": args.shrink}
    path = args.dir / "goals.jsonl"
    groups = [group for group in GROUPS if any(bar.group == group for bar in wanted)]
    rounds = kept(path, settings, args.resume, groups)
    lab = Lab(args.dir, reference, args.seconds, args.quiet, args.shrink, rounds, {})
    try:
        for group in groups:
            measure(lab, group, args.rounds, path, settings)
    except KeyboardInterrupt:
        print("interrupted: `--resume` goes on from here")
        told(wanted, lab, args, settings)
        raise
    return told(wanted, lab, args, settings)


def measure(lab, group, rounds, path, settings):
    """The rounds of a group that are not there yet."""
    run, minutes = GROUPS[group]
    many = 1 if group == "kills" else rounds
    left = many - lab.turn(group)
    if left > 0:
        states = f"; {STATES[group]}" if group in STATES else ""
        print(f"{group}: {left} rounds of about {minutes:g} minutes{states}", flush=True)
    for _ in range(left):
        began = time.monotonic()
        try:
            rows = run(lab)
        except (SystemExit, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            # One case that cannot run does not cost the others their figures.
            lab.failed[group] = str(error) if isinstance(error, (SystemExit, ValueError)) else repr(error)
            print(f"{group}: not measured to the end: {lab.failed[group]}", flush=True)
            return
        lab.rounds.setdefault(group, []).append(rows)
        with path.open("a") as file:
            file.write(json.dumps({"group": group, "settings": settings, "rows": rows}) + "\n")
        print(f"{group}: a round in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


def told(wanted, lab, args, settings):
    judged = [judge(bar, lab.rounds.get(bar.group, []), lab.failed.get(bar.group, "")) for bar in wanted]
    command = f"loadtest/measure.py goals --bench {args.bench} --dir DIR"
    smaller = f", everything {args.shrink} times smaller: only to try the command" if args.shrink > 1 else ""
    print(f"\nOf {settings['commit']}, {time.strftime('%Y-%m-%d')}{smaller}\n\n{table(judged, command)}\n")
    rows = [
        {"goal": one.bar.goal, "what": one.bar.what, "must": one.bar.must, "aim": one.bar.aim, "median": one.median,
         "values": one.values, "verdict": one.verdict, "reason": one.reason}
        for one in judged
    ]  # fmt: skip
    print(json.dumps({"settings": settings, "goals": rows}))
    return 1 if any(one.verdict == "missed" for one in judged) else 0
