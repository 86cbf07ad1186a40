"""A round of webhooks: the engine, the bare programs and Express, one after the other."""

import contextlib

from measure.machine import quiet, scratch
from measure.servers import beside, engine
from measure.webhooks import closed, grown, opened, single


# A closed loop of the engine has found its maximum; others are asked for this share of it.
SHARE = 0.4


def round_of(lab):
    rows = {}
    for name, start, why, asked in programs(lab):
        if why:
            rows[name] = {"missing": why}
            continue
        with contextlib.ExitStack() as held:
            place = held.enter_context(scratch(lab.dir / "measure-ingest"))
            server = held.enter_context(start(place))
            before = server.metrics() if name == "engine" else None
            row = rows[name] = {"idle": quiet(lab.quiet)} | closed(server, lab.seconds)
            if before is not None:
                row |= grown(server, before)
            if "open" in asked:
                row |= opened(server, SHARE * rows["engine"]["rate"], lab.seconds)
            if "single" in asked:
                row |= single(server)
        lab.tell(name, row)
    return rows


def programs(lab):
    reference = lab.reference

    def bare(command):
        return lambda place: beside(place, command())

    @contextlib.contextmanager
    def express(place, mode):
        with reference.database.running() as postmaster, beside(place, reference.express(mode)) as server:
            server.roots.append(postmaster)
            yield server

    limits, peers = reference.why("limits"), reference.why("express")
    return (
        ("engine", engine, "", ("open", "single")),
        ("L", bare(reference.log_and_tree), limits, ("open",)),
        ("D", bare(reference.log_alone), limits, ("single",)),
        ("Express INSERT", lambda place: express(place, "insert"), peers, ()),
        ("Express transaction", lambda place: express(place, "tx"), peers, ()),
    )
