"""The commands of `loadtest/measure.py`."""

import argparse
import pathlib
import signal

from measure import cluster, flood, memory, scale, search, selftest, sockets, webhooks
from measure.goals import reference, run
from measure.servers import RELEASE

BENCH = pathlib.Path("../shared/bench")


def options_of_goals(parser):
    parser.add_argument("--bench", type=pathlib.Path, default=BENCH, help="the bare programs and the peers' configurations")
    parser.add_argument("--limits", type=pathlib.Path, help="the bare programs, built already")
    parser.add_argument("--only", default="", metavar="GOALS", help="as 1,2,16b")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each load")
    parser.add_argument("--quiet", type=float, default=30, help="seconds to wait for an idle machine before each case")
    parser.add_argument("--resume", action="store_true", help="go on with what an interrupted run has left in DIR")
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="make states N times smaller, to try the command")


def options(what):
    """A parser a command."""
    quiet = {"type": float, "default": 0, "help": "seconds to wait for an idle machine before"}

    def command(name, does, text):
        one = what.add_parser(name, help=text, description=does.__doc__)
        one.set_defaults(measure=does)
        if name != "selftest":
            one.add_argument("--dir", type=pathlib.Path, required=True)
        return one

    def settable(one):
        one.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, as limits.inflight_tenant=5000")

    options_of_goals(command("goals", run.goals, "all goals, each beside its reference"))
    command("peers", reference.peers, "install what the goals are compared to").add_argument("--bench", type=pathlib.Path, default=BENCH)
    of_scale = command("scale", scale.scale, "a store with a million conversations")
    of_scale.add_argument("--conversations", type=int, default=1_000_000)
    of_scale.add_argument("--messages", type=int, default=10_000_000)
    of_scale.add_argument("--rounds", type=int, default=3)
    of_scale.add_argument("--connections", type=int, default=4)
    of_scale.add_argument("--patience", type=float, default=900, help="seconds to wait for the search once it is made")
    command("selftest", selftest.selftest, "tests what judges and reads, and measures nothing")
    of_speed = command("speed", webhooks.speed, "webhooks a second, latency, webhooks per sync")
    of_speed.add_argument("--beside", action="append", default=[], metavar="NAME=COMMAND")
    of_speed.add_argument("--rounds", type=int, default=3)
    of_speed.add_argument("--seconds", type=float, default=5)
    of_speed.add_argument("--connections", type=int, default=64)
    of_speed.add_argument("--quiet", **quiet)
    of_memory = command("memory", memory.memory, "memory per conversation")
    of_memory.add_argument("--conversations", type=int, default=100_000)
    of_memory.add_argument("--quiet", **quiet)
    of_flood = command("flood", flood.flood, "one organization floods, another stands by")
    of_flood.add_argument("--seconds", type=float, default=60)
    of_flood.add_argument("--search", type=float, default=5, help="seconds of the closed loop that finds the most")
    of_flood.add_argument("--rate", type=float, default=0, help="webhooks a second; 0: three times what a closed loop finds")
    of_flood.add_argument("--connections", type=int, default=4000)
    of_flood.add_argument("--seed", type=int, default=4711)
    of_flood.add_argument("--restart-after", type=float, help="kill -9 so many seconds after the flood began, and start again")
    of_flood.add_argument("--quiet", **quiet)
    of_sockets = command("sockets", sockets.sockets, "processor time a delivered message, memory an idle socket")
    of_sockets.add_argument("--beside", metavar="COMMAND")
    of_sockets.add_argument("--rounds", type=int, default=3)
    of_sockets.add_argument("--sockets", type=int, default=1000, help="that get messages")
    of_sockets.add_argument("--idle", type=int, default=10_000, help="that get none")
    of_sockets.add_argument("--ramp", type=float, default=1000, help="sockets opened a second")
    of_sockets.add_argument("--rate", type=float, default=20, help="messages a second")
    of_sockets.add_argument("--seconds", type=float, default=10)
    of_sockets.add_argument("--quiet", **quiet)
    of_search = command("search", search.search, "how soon a message is found")
    of_search.add_argument("--rate", type=float, default=1000, help="webhooks a second beside; 0: none")
    of_search.add_argument("--seconds", type=float, default=30)
    of_search.add_argument("--quiet", **quiet)
    of_cluster = command("cluster", cluster.cluster, "webhooks a second on a cluster")
    of_cluster.add_argument("--node", required=True, metavar="HOST:PORT")
    of_cluster.add_argument("--rounds", type=int, default=3)
    of_cluster.add_argument("--seconds", type=int, default=10)
    of_cluster.add_argument("--connections", type=int, default=256)
    of_cluster.add_argument("--apart", type=int, metavar="PID", help="the database: it has a core for itself, the programs the others")
    of_cluster.add_argument("--quiet", **quiet)
    for one in (of_memory, of_flood, of_sockets, of_search, of_cluster):
        settable(one)


def main(text):
    # Whoever ends this ends the servers that it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    options(parser.add_subparsers(required=True))
    args = parser.parse_args()
    if "dir" in args:
        args.dir = args.dir.resolve()
    lacking = [name for name in ("omnistream", "loadtest") if not (RELEASE / name).exists()]
    if args.measure in (selftest.selftest, reference.peers):
        lacking = []
    if lacking:
        raise SystemExit(f"{RELEASE} has no {' and no '.join(lacking)}: cargo build --release -p omnistream-api -p loadtest -p omnistream-simulator")
    try:
        return args.measure(args)
    except KeyboardInterrupt:
        return 130
