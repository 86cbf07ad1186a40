"""Webhooks a second on a cluster, beside a bare program that writes the same rows to it with the same driver
(`cargo build --release -p omnistream-storage --example cql_limit`)."""

import contextlib
import json
import os
import statistics
import subprocess

from measure.machine import apart, quiet, scratch
from measure.servers import RELEASE, engine, load, settings


def cluster(args):
    rounds = []
    with apart(args.apart) if args.apart else contextlib.nullcontext():
        for number in range(args.rounds):
            # Each is as often behind the other as before it: the database has left-over work then.
            order = [bare, through_engine][:: -1 if number % 2 else 1]
            row = {key: value for one in order for key, value in one(args, number).items()}
            row["ratio"] = row["engine"] / row["bare"]
            print(f"round {number + 1}:", ", ".join(f"{k} {v:.2f}" for k, v in row.items()), flush=True)
            rounds.append(row)
    ratios = [row["ratio"] for row in rounds]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"engine / bare: {statistics.median(ratios):.2f} ({each})")
    print(json.dumps(rounds))


def bare(args, _):
    quiet(args.quiet)
    words = [RELEASE / "examples" / "cql_limit", args.node, str(args.seconds), str(args.connections)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return {"bare": json.loads(done.stdout.splitlines()[-1])["per_second"]}


def through_engine(args, number):
    keyspace = f"measure_{os.getpid()}_{number}"
    chosen = {"backend": "cql", "cql.nodes": args.node, "cql.keyspace": keyspace}
    chosen = settings(f"storage.{key}={value}" for key, value in chosen.items()) | settings(args.set)
    with scratch(args.dir / "measure-cluster") as place, engine(place, chosen) as server:
        # Conversations are open, and statements prepared.
        load(server, rate=0, count=4000, connections=args.connections, **{"for": 60})
        quiet(args.quiet)
        before = server.metrics()
        most = load(server, rate=0, **{"for": args.seconds}, connections=args.connections)
        after = server.metrics()
    grown = lambda name: sum(value - before.get(key, 0) for key, value in after.items() if key.startswith(name))
    accepted = grown('omnistream_webhook_items_total{item="message"}')
    row = {"engine": most["achieved_rate"], "cpu_us": most["server"]["cpu_us"]}
    row["statements_per_webhook"] = grown("omnistream_cql_statement_seconds_count") / accepted
    return row | {f"{p}_ms": most["latency_us"][p] / 1000 for p in ("p50", "p99")}
