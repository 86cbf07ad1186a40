"""Webhooks a second, latency, webhooks a sync: of one process, and of a cluster."""

import functools
import json
import os
import statistics
import subprocess

from measure.machine import quiet, scratch
from measure.servers import RELEASE, beside, engine, load, settings


def closed(server, seconds, connections=64, **options):
    """The most that a closed loop gets."""
    most = load(server, rate=0, **{"for": seconds}, connections=connections, **options)
    row = {"rate": most["achieved_rate"], "cpu_us": most["server"]["cpu_us"], "generator_us": most["generator_us"]}
    return row | {f"closed_{p}_ms": most["latency_us"][p] / 1000 for p in ("p50", "p99")}


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
    return row | {f"open_{p}_ms": steady["latency_us"][p] / 1000 for p in ("p50", "p99", "p999")}


def single(server):
    """One connection, one webhook at a time."""
    return {"single_p50_ms": load(server, rate=0, **{"for": 2}, connections=1)["latency_us"]["p50"] / 1000}


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
            print(f"round {number + 1} {name}:", ", ".join(f"{k} {v:.2f}" for k, v in row.items()), flush=True)
        rounds.append(found)
    print()
    for name, _ in programs:
        keys = rounds[0][name].keys()
        print(f"{name}:", ", ".join(f"{k} {statistics.median(r[name][k] for r in rounds):.2f}" for k in keys))
    for name, _ in programs[1:]:
        for key in ("rate", "cpu_us", "open_cpu_us", "open_p50_ms", "open_p99_ms", "single_p50_ms"):
            ratios = [one["engine"][key] / one[name][key] for one in rounds]
            spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
            print(f"engine / {name}, {key}: {statistics.median(ratios):.2f} ({spread})")
    print(json.dumps(rounds))


def cluster(args):
    """Webhooks a second on a cluster, beside a bare program that writes the same rows to it with the
    same driver (`cargo build --release -p omnistream-storage --example cql_limit`)."""
    rounds = []
    for number in range(args.rounds):
        quiet(args.quiet)
        words = [RELEASE / "examples" / "cql_limit", args.node, str(args.seconds), str(args.connections)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        bare = json.loads(done.stdout.splitlines()[-1])["per_second"]
        keyspace = f"measure_{os.getpid()}_{number}"
        chosen = {"backend": "cql", "cql.nodes": args.node, "cql.keyspace": keyspace}
        chosen = settings(f"storage.{key}={value}" for key, value in chosen.items()) | settings(args.set)
        with scratch(args.dir / "measure-cluster") as place, engine(place, chosen) as server:
            # Conversations are open, and statements prepared.
            load(server, rate=0, count=4000, connections=args.connections, **{"for": 60})
            quiet(args.quiet)
            before = server.metrics()
            most = load(server, rate=0, **{"for": args.seconds}, connections=args.connections)
            grown = lambda name: sum(value for key, value in server.metrics().items() if key.startswith(name)) - sum(
                value for key, value in before.items() if key.startswith(name)
            )
            accepted = grown('omnistream_webhook_items_total{item="message"}')
            statements = grown("omnistream_cql_statement_seconds_count")
        row = {"bare": bare, "engine": most["achieved_rate"], "ratio": most["achieved_rate"] / bare}
        row |= {"statements_per_webhook": statements / accepted, "cpu_us": most["server"]["cpu_us"]}
        row |= {f"{p}_ms": most["latency_us"][p] / 1000 for p in ("p50", "p99")}
        print(f"round {number + 1}:", ", ".join(f"{k} {v:.2f}" for k, v in row.items()), flush=True)
        rounds.append(row)
    print("engine / bare:", ", ".join(f"{row['ratio']:.2f}" for row in rounds))
    print(json.dumps(rounds))
