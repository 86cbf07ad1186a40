#!/usr/bin/env python3
"""Measures the release binary on this machine: all goals of the engine, each beside a bare program or what
people run instead; and by itself: webhooks a second, latency, webhooks a sync, memory per conversation, a
flood, live sockets, the search, a large store, a cluster. Loopback only; every server it starts ends with it.

    cargo build --release -p omnistream-api -p loadtest
    loadtest/measure.py peers  --bench BENCH --dir DIR
    loadtest/measure.py goals  --bench BENCH --dir DIR [--only 1,2,16b] [--rounds 3] [--resume]
    loadtest/measure.py scale  --dir DIR [--conversations 1000000] [--messages 10000000]
    loadtest/measure.py speed  --dir DIR [--beside NAME=COMMAND ...] [--rounds 3] [--seconds 5]
    loadtest/measure.py memory --dir DIR [--conversations 100000]
    loadtest/measure.py flood  --dir DIR [--seconds 60] [--restart-after 30] [--set KEY=VALUE ...]
    loadtest/measure.py sockets --dir DIR [--beside COMMAND] [--sockets 1000] [--idle 10000] [--rounds 3]
    loadtest/measure.py search  --dir DIR [--rate 1000] [--seconds 30] [--set KEY=VALUE ...]
    loadtest/measure.py cluster --dir DIR --node HOST:PORT [--apart PID] [--rounds 3] [--seconds 10]
    loadtest/measure.py selftest

DIR is scratch on the disk whose durability counts. A figure of this machine alone means little, so
`--beside` names a program to be measured in the same rounds: it must take the same signed webhooks at
`/webhook` of {address}; {dir} is scratch of its own. For sockets `--beside` is a bare server that passes
what is posted to `/pub` of {publish} on to all websockets at `/ws` of {address}. BENCH has the source of bare
programs and the peers' configurations. `RELEASE=DIR` in the environment measures the binaries of another
directory than `target/release`. The last lines are JSON.
"""

import sys

from measure.cli import main

if __name__ == "__main__":
    sys.exit(main(__doc__))
