"""Webhooks a second, latency, webhooks a sync."""

import functools
import json
import statistics

from measure.machine import quiet, scratch
from measure.servers import beside, counted, engine, load


def closed(server, seconds, connections=64, **options):
    """The most that a closed loop gets."""
    most = load(server, rate=0, **{"for": seconds}, connections=connections, **options)
    row = {"rate": most["achieved_rate"], "cpu_us": most["server"]["cpu_us"], "generator_us": most["generator_us"]}
    return counted(most, row, {f"closed_{p}_ms": most["latency_us"][p] / 1000 for p in ("p50", "p99")})


def grown(server, before):
    """What the store did for each webhook since the metrics were these."""
    after = server.metrics()
    more = lambda metric: after.get(metric, 0) - before.get(metric, 0)
    accepted = more('omnistream_webhook_items_total{item="message"}')
    return {
        "webhooks_per_sync": accepted / more("omnistream_store_syncs_total"),
        "rows_per_webhook": more("omnistream_store_rows_total") / accepted,
        "log_bytes_per_webhook": more("omnistream_store_log_bytes_total") / accepted,
    }


def opened(server, rate, seconds):
    """Latency in an open loop, from when each was due."""
    steady = load(server, rate=rate, **{"for": seconds}, connections=256)
    row = {"open_rate": rate, "open_cpu_us": steady["server"]["cpu_us"], "late_p99_ms": steady["late_us_p99"] / 1000}
    return counted(steady, row, {f"open_{p}_ms": steady["latency_us"][p] / 1000 for p in ("p50", "p99", "p999")})


def single(server):
    """One connection, one webhook at a time."""
    one = load(server, rate=0, **{"for": 2}, connections=1)
    return counted(one, {}, {"single_p50_ms": one["latency_us"]["p50"] / 1000})


def told(row):
    return ", ".join(f"{key} {value}" if isinstance(value, str) else f"{key} {value:.2f}" for key, value in row.items())


def medians(rows):
    """Of what counts."""
    good = [row for row in rows if "missing" not in row]
    keys = dict.fromkeys(key for row in good for key, value in row.items() if not isinstance(value, str))
    return {key: statistics.median(row[key] for row in good if key in row) for key in keys}


def speed(args):
    programs = [("engine", None)] + [tuple(text.split("=", 1)) for text in args.beside]
    rounds = []
    for number in range(args.rounds):
        found = {}
        rate = None
        for name, command in programs:
            start = engine if command is None else functools.partial(beside, command=command)
            with scratch(args.dir / f"measure-{name}") as place, start(place) as server:
                before = server.metrics() if command is None else None
                row = {"idle": quiet(args.quiet)} | closed(server, args.seconds, args.connections)
                if before is not None:
                    row |= grown(server, before)
                rate = rate or 0.4 * row["rate"]
                row["open_idle"] = quiet(args.quiet)
                row |= opened(server, rate, args.seconds) | single(server)
            found[name] = row
            print(f"round {number + 1} {name}:", told(row), flush=True)
        rounds.append(found)
    print()
    for name, _ in programs:
        print(f"{name}:", told(medians([one[name] for one in rounds])))
    for name, _ in programs[1:]:
        for key in ("rate", "cpu_us", "open_cpu_us", "open_p50_ms", "open_p99_ms", "single_p50_ms"):
            pairs = [(one["engine"], one[name]) for one in rounds]
            counts = lambda row: "missing" not in row and key in row
            ratios = [over[key] / under[key] for over, under in pairs if counts(over) and counts(under)]
            if not ratios:
                print(f"engine / {name}, {key}: no round counts")
                continue
            spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
            print(f"engine / {name}, {key}: {statistics.median(ratios):.2f} ({spread})")
    print(json.dumps(rounds))
