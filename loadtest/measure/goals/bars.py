"""What is wanted of the engine, and what a run says of it: no measuring here, only judging."""

import dataclasses
import statistics

# A bar is missed where the median is beyond it. Where no two rounds are beyond it by more than a tenth that may be chance.
TOLERANCE, ROUNDS, TIMES, IDLE = 1.1, 3, 2, 0.9


class NotMeasured(Exception):
    """Why there is no figure."""


def of(rows, program, key):
    """What a round found of a program."""
    row = rows.get(program)
    if row is None:
        raise NotMeasured("its round was not run")
    if "missing" in row:
        raise NotMeasured(row["missing"])
    if row.get(key) is None:
        raise NotMeasured(row.get(f"why no {key}", f"`{program}` told no {key}"))
    return row[key]


@dataclasses.dataclass(frozen=True)
class Figure:
    """Of one program; of two it is their ratio."""

    programs: tuple
    key: str

    def __call__(self, rows):
        found = [of(rows, program, self.key) for program in self.programs]
        return found[0] / found[1] if len(found) == 2 else found[0]


def value(program, key):
    return Figure((program,), key)


def ratio(over, under, key):
    return Figure((over, under), key)


@dataclasses.dataclass(frozen=True)
class Bar:
    goal: str
    what: str
    group: str
    sense: str  # "<=", ">=", or "" where nothing is wanted and it is only told
    must: float | None
    aim: float | None
    figure: Figure
    is_latency: bool = False
    slack: float | None = None  # beyond `must` so much counts as a tenth does elsewhere
    rounds: int = ROUNDS

    def misses(self, found):
        """0: it keeps the bar; 1: it misses by no more than chance may; 2: by more."""
        if not self.sense or (found <= self.must if self.sense == "<=" else found >= self.must):
            return 0
        if self.sense == "<=":
            most = self.must + self.slack if self.slack is not None else self.must * TOLERANCE
            return 1 if found <= most else 2
        return 1 if found >= self.must / TOLERANCE else 2


@dataclasses.dataclass(frozen=True)
class Judged:
    bar: Bar
    values: list
    verdict: str
    reason: str = ""

    @property
    def median(self):
        return statistics.median(self.values) if self.values else None


def judge(bar, rounds, why=""):
    """Of rounds, each a program's rows with `idle` among them; `why` there are no more of them."""
    values, reasons = [], [why] if why else []
    for rows in rounds:
        try:
            found = bar.figure(rows)
        except NotMeasured as why:
            reasons.append(str(why))
            continue
        except ZeroDivisionError:
            reasons.append(f"`{bar.figure.programs[1]}` took nothing")
            continue
        idle = min(rows[program].get("idle", 1) for program in bar.figure.programs)
        if bar.is_latency and idle < IDLE:
            reasons.append(f"latency counts on a machine that is {IDLE:.0%} idle before, and it was {idle:.0%}: {found:.3g} does not count")
            continue
        values.append(found)
    if len(values) < bar.rounds:
        counted = f"{len(values)} of {bar.rounds} rounds counted"
        return Judged(bar, values, "not measured", "; ".join(dict.fromkeys([counted] + reasons)))
    if not bar.sense:
        return Judged(bar, values, "told")
    far = sum(bar.misses(one) == 2 for one in values)
    in_the_middle = bar.misses(statistics.median(values))
    if in_the_middle == 0:
        return Judged(bar, values, "met")
    if far >= min(TIMES, bar.rounds):
        return Judged(bar, values, "missed")
    return Judged(bar, values, "missed", "by no more than a tenth, or only once: measure it again")


def shown(number):
    if number is None:
        return ""
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"


def table(judged, command):
    """Markdown, a row a bar."""
    lines = ["| goal | what | must | aim | measured (min to max) | | again |", "|---|---|---|---|---|---|---|"]
    for one in judged:
        bar, values = one.bar, one.values
        sense = {"<=": "≤ ", ">=": "≥ "}.get(bar.sense, "")
        spread = f"{shown(min(values))} to {shown(max(values))}" if len(values) > 1 else f"{len(values)} round" if values else ""
        measured = f"**{shown(one.median)}** ({spread})" if values else ""
        verdict = one.verdict + (f": {one.reason}" if one.reason else "")
        bars = [sense + shown(number) if number is not None else "" for number in (bar.must, bar.aim)]
        lines.append(f"| {bar.goal} | {bar.what} | {bars[0]} | {bars[1]} | {measured} | {verdict} | `{command} --only {bar.goal}` |")
    return "\n".join(lines)


def chosen(text, bars):
    """The bars of the goals in `1,2,16b`; all of them when nothing is said."""
    if not text:
        return list(bars)
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [goal for goal in wanted if goal not in {bar.goal for bar in bars}]
    if unknown:
        known = ", ".join(dict.fromkeys(bar.goal for bar in bars))
        raise SystemExit(f"there is no goal {', '.join(unknown)}; there are {known}")
    return [bar for bar in bars if bar.goal in wanted]
