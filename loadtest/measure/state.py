"""A store with much in it, made through the webhooks and kept for whoever measures it next."""

import contextlib
import json
import shutil
import time

from measure.machine import spent
from measure.search import caught_up
from measure.servers import engine, load

# The number of `loadtest`'s first customer.
FIRST_PHONE = 15_550_000_000
# Messages in a webhook, as a provider sends them that had to wait.
BATCH = 100


def occupied(directory):
    """Bytes on the disk."""
    return sum(512 * file.stat().st_blocks for file in directory.rglob("*") if file.is_file())


def state(directory, conversations, messages, connections=4, patience=900):
    """A place with so many conversations of one organization, each with as many messages; how it was made."""
    place = directory / f"state-{conversations}-{messages}"
    made = place / "made.json"
    if made.exists():
        return place, json.loads(made.read_text())
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with engine(place) as server:
        began, before = time.monotonic(), spent(server.roots)
        fill(server, conversations, messages, connections)
        taken = time.monotonic() - began
        row = {"conversations": conversations, "messages": messages, "seconds": round(taken, 1)}
        row |= {"messages_per_second": round(messages / taken), "cpu_us_per_message": (spent(server.roots) - before) * 1e6 / messages}
        row |= caught_up(server, patience)
    row["disk_bytes"] = occupied(place / "data")
    made.write_text(json.dumps(row))
    return place, row


def fill(server, conversations, messages, connections=4, first=0):
    """Sends so many messages, as many of each customer; says twenty times how far it is."""
    each = messages // conversations
    began, done, step = time.monotonic(), 0, max(1, conversations // 20)
    while done < conversations:
        many = min(step, conversations - done)
        webhooks = -(-many * each // BATCH)
        options = {"rate": 0, "warm_up": 0, "for": 900, "count": webhooks, "customers": many, "first_customer": first + done}
        report = load(server, connections=connections, in_a_row=each, messages_per_webhook=BATCH, **options)
        if report["achieved_rate"] == 0:
            raise SystemExit(f"the server takes nothing any more: {report['statuses']}")
        done += many
        behind = server.metrics()
        words = f"{done} conversations, {report['achieved_rate'] * BATCH:.0f} messages a second, p99 {report['latency_us']['p99'] / 1000:.0f} ms"
        lag = behind.get('omnistream_oldest_seconds{what="search"}', 0)
        own = behind.get('omnistream_memory_bytes{kind="own"}', 0) / 1e6
        print(f"  {time.monotonic() - began:.0f} s: {words}, search {lag:.0f} s behind, {own:.0f} MB", flush=True)
