"""A round of memory, which has no program beside it."""

from measure.memory import per_conversation


def memory(lab):
    found = per_conversation(lab.dir, lab.scaled(50_000), wait=lab.quiet)
    row = {"idle": found["idle_before"], "actor": found["actor"]}
    row |= {"closed": found["one closed, nobody looks"], "open": found["one open, listed"], "open_unlisted": found["one open, nobody looks"]}
    lab.tell("memory", row)
    return {"memory": row}
