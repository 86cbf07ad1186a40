"""Memory per conversation."""

import json

from measure.machine import quiet, scratch
from measure.servers import actors, close_all, engine, load, rested, settings


def per_conversation(directory, conversations, chosen=(), wait=0):
    """What one more conversation takes: first half of them come and are closed, then the other half. So what
    a server takes anyway does not count, and caches are made small. A conversation's actor is what memory
    rises by while the last quarter comes alive, with the room of contacts' actors, which leave at once, in
    use already. What is not active is told by servers that have just started. Their allocator gives back
    within a second what is freed."""
    half, found = conversations // 2, {"idle_before": quiet(wait)}
    small = settings(["limits.tree_cache_bytes=1048576", "limits.tree_memtable_bytes=1048576"]) | settings(chosen)
    small["_RJEM_MALLOC_CONF"] = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0"
    patient = small | {"OMNISTREAM__LIMITS__IDLE_PASSIVATION": "1h"}
    brisk = small | {"OMNISTREAM__LIMITS__IDLE_PASSIVATION": "2s"}

    def looked_at(server, which):
        found[f"{which}, nobody looks"] = rested(server)
        server.call("GET", "/api/conversations?per_page=1")
        found[f"{which}, listed"] = rested(server)

    def come(server, first, many):
        load(server, rate=0, warm_up=0, **{"for": 600}, count=many, customers=many, first_customer=first)
        return rested(server, "contact"), actors(server, "thread")

    with scratch(directory / "measure-memory") as place:
        with engine(place, brisk) as server:
            come(server, 0, half)
            close_all(server)
        with engine(place, brisk) as server:
            looked_at(server, "before")
        with engine(place, patient) as server:
            before, alone = come(server, half, half // 2)
            after, alive = come(server, half + half // 2, half // 2)
            found |= {"alive before": before, "alive after": after, "actor": (after - before) / (alive - alone)}
        with engine(place, brisk) as server:
            looked_at(server, "open")
            close_all(server)
        with engine(place, brisk) as server:
            looked_at(server, "closed")
    found["alive"] = alive
    for which in ("nobody looks", "listed"):
        for state in ("open", "closed"):
            found[f"one {state}, {which}"] = (found[f"{state}, {which}"] - found[f"before, {which}"]) / half
    return found


def memory(args):
    found = per_conversation(args.dir, args.conversations, args.set, args.quiet)
    print(f"one more of {found['alive']:.0f} live conversations: {found['actor']:.0f} bytes")
    for what in (f"one {state}, {which}" for which in ("nobody looks", "listed") for state in ("open", "closed")):
        print(f"one more {what.removeprefix('one ')}: {found[what]:.0f} bytes")
    print(json.dumps(found))


memory.__doc__ = per_conversation.__doc__
