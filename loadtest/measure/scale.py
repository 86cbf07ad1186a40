"""What a store with a million conversations costs, beside one with a thousand."""

import json
import statistics
import time

from measure.machine import quiet, resident, spent
from measure.search import deliver
from measure.servers import engine, load
from measure.state import FIRST_PHONE, occupied, state

SMALL = 1_000
TIMES = 30


def timed(call, times=TIMES):
    """Milliseconds of each, and what the last one answered."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        answer = call()
        taken.append((time.perf_counter() - began) * 1000)
    return taken, answer


def looked_at(place, made, cold=200):
    """Everything that people do with a store, on one that was just started."""
    conversations, messages = made["conversations"], made["messages"]
    row = {"conversations": conversations, "messages": messages, "idle": quiet(0)}
    with engine(place) as server:
        row["start_seconds"] = server.ready_seconds
        own = lambda: server.settled_metric('omnistream_memory_bytes{kind="own"}') / 1e6
        row["own_mb_started"], row["resident_mb_started"] = own(), resident(server.pid) / 1e6
        (row["first_list_ms"],), page = timed(lambda: server.call("GET", "/api/conversations?per_page=50"), 1)
        row["own_mb_listed"] = own()

        def page_of(name, path):
            before = spent(server.roots)
            taken, found = timed(lambda: server.call("GET", path))
            row[f"{name}_ms"], row[f"{name}_cpu_ms"] = statistics.median(taken), (spent(server.roots) - before) * 1000 / TIMES
            return found

        last = min(1000, conversations // 50)
        page_of("list", "/api/conversations?per_page=50")
        if len(page_of("list_far", f"/api/conversations?per_page=50&page={last}")) != 50:
            raise SystemExit(f"page {last} of the list is not full")
        row["list_far_page"] = last
        one = f"/api/conversations/{page[0]['id']}/messages"
        page_of("messages", f"{one}?per_page=50")
        # Every message has the first word, and none the second.
        for name, word in (("search_common", "lamp"), ("search_none", "needle")):
            page_of(name, f"/api/messages/search?q={word}")
        # Nobody has written in these since the start.
        taken = []
        for n in range(cold):
            began = time.perf_counter()
            deliver(server, f"cold{time.time_ns()}", phone=FIRST_PHONE + n * (conversations // cold))
            taken.append((time.perf_counter() - began) * 1000)
        row["wake_p50_ms"], row["wake_max_ms"] = statistics.median(taken), max(taken)
        steady = load(server, rate=0, warm_up=1, customers=conversations, **{"for": 5})
        row["webhooks_per_second"], row["webhook_cpu_us"] = steady["achieved_rate"], steady["server"]["cpu_us"]
        row["own_mb_after"] = own()
    row["disk_mb"] = occupied(place / "data") / 1e6
    return row


def scale(args):
    """A store with so many conversations is made through the webhooks (and kept in DIR for the next time),
    another one with a thousand and as many messages in each; the same is done with both, each just started.
    Ends with 1 where the store was not made within the quarter of an hour."""
    each = max(1, args.messages // args.conversations)
    rows, made = {}, {}
    for name, conversations in (("small", SMALL), ("large", args.conversations)):
        print(f"{conversations} conversations with {each} messages each", flush=True)
        _, made[name] = state(args.dir, conversations, conversations * each, args.connections, args.patience)
        print(f"  made in {made[name]['seconds']:.0f} s, search caught up {made[name]['caught_up_seconds']:.0f} s later", flush=True)
    for number in range(args.rounds):
        for name, found in made.items():
            row = looked_at(args.dir / f"state-{found['conversations']}-{found['messages']}", found)
            rows.setdefault(name, []).append(row)
            print(f"round {number + 1} {name}:", ", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    print(f"\n| | {SMALL} | {args.conversations} | ratio |\n|---|---|---|---|")
    for key in rows["small"][0]:
        small, large = (statistics.median(row[key] for row in rows[name]) for name in ("small", "large"))
        print(f"| {key} | {small:.4g} | {large:.4g} | {large / small if small else float('nan'):.2f} |")
    made["in_time"] = made["large"]["seconds"] <= 900
    print(json.dumps({"made": made, "rounds": rows}))
    return 0 if made["in_time"] else 1
