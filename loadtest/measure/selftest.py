"""Tests of what judges and reads, without measuring anything."""

import base64
import json
import pathlib
import struct
import tempfile
import unittest
import zlib

from measure import histogram
from measure.goals.bars import Bar, chosen, judge, ratio, shown, table, value
from measure.goals.run import GROUPS, kept
from measure.goals.wanted import BARS
from measure.servers import counted
from measure.webhooks import medians

LESS = Bar("2", "less is better", "g", "<=", 1.0, 0.5, ratio("a", "b", "cost"))
MORE = Bar("1", "more is better", "g", ">=", 10, 20, value("a", "rate"))


def rounds(*values, idle=1.0):
    return [{"a": {"cost": one, "rate": one, "idle": idle}, "b": {"cost": 1.0, "idle": 1.0}} for one in values]


class Verdicts(unittest.TestCase):
    def test_the_median_decides(self):
        self.assertEqual(judge(LESS, rounds(0.9, 5.0, 0.8)).verdict, "met")
        self.assertEqual(judge(MORE, rounds(12, 11, 3)).verdict, "met")
        self.assertEqual(judge(LESS, rounds(0.9, 5.0, 0.8)).median, 0.9)

    def test_twice_beyond_a_tenth_is_missed(self):
        self.assertEqual((judge(LESS, rounds(1.2, 1.2, 0.9)).verdict, judge(LESS, rounds(1.2, 1.2, 0.9)).reason), ("missed", ""))
        self.assertEqual(judge(MORE, rounds(9, 9, 20)).verdict, "missed")
        self.assertIn("again", judge(LESS, rounds(1.05, 1.05, 1.05)).reason)

    def test_what_has_too_few_rounds_is_not_measured(self):
        self.assertEqual(judge(LESS, rounds(0.1, 0.1)).verdict, "not measured")
        self.assertIn("2 of 3", judge(LESS, rounds(0.1, 0.1)).reason)
        self.assertEqual(judge(LESS, []).verdict, "not measured")
        self.assertIn("the server did not start", judge(LESS, [], "the server did not start").reason)

    def test_what_lacks_its_reference_is_not_measured_and_says_why(self):
        lacking = [{"a": {"cost": 0.1}, "b": {"missing": "it is not installed"}}] * 3
        judged = judge(LESS, lacking)
        self.assertEqual(judged.verdict, "not measured")
        self.assertIn("it is not installed", judged.reason)
        self.assertEqual(judge(LESS, [{"a": {}, "b": {}}] * 3).verdict, "not measured")

    def test_a_latency_of_a_busy_machine_does_not_count(self):
        latency = Bar("5", "latency", "g", "<=", 1.0, None, value("a", "cost"), is_latency=True)
        self.assertEqual(judge(latency, rounds(0.5, 0.5, 0.5, idle=0.6)).verdict, "not measured")
        self.assertEqual(judge(latency, rounds(0.5, 0.5, 0.5)).verdict, "met")
        self.assertEqual(judge(LESS, rounds(0.5, 0.5, 0.5, idle=0.6)).verdict, "met")

    def test_nothing_at_all_has_a_slack_in_place_of_a_tenth(self):
        nothing = Bar("12", "nothing", "g", "<=", 0, 0, value("a", "cost"), slack=60)
        self.assertEqual([nothing.misses(one) for one in (-5, 0, 40, 100)], [0, 0, 1, 2])

    def test_what_is_only_told_is_neither_met_nor_missed(self):
        told = Bar("1", "told", "g", "", None, None, value("a", "cost"))
        self.assertEqual(judge(told, rounds(1, 2, 3)).verdict, "told")


class Counts(unittest.TestCase):
    def row(self, **report):
        return counted(report, {"cost": 1.0}, {"p99_ms": 7.0})

    def test_what_the_generator_was_late_for_is_no_latency_of_a_server(self):
        latency, cost = (Bar("16b", "latency", "g", "<=", 9, None, value("a", key)) for key in ("p99_ms", "cost"))
        late = [{"a": self.row(late_us_p99=1_500)}] * 3
        self.assertEqual((judge(latency, late).verdict, judge(cost, late).verdict), ("not measured", "met"))
        self.assertIn("1.5 ms late", judge(latency, late).reason)
        for in_time in ({"late_us_p99": 1_000}, {"late_us_p99": None}):
            self.assertEqual(judge(latency, [{"a": self.row(**in_time)}] * 3).verdict, "met")

    def test_a_round_in_which_not_all_was_as_it_should_be_does_not_count(self):
        cost = Bar("1", "cost", "g", "<=", 9, None, value("a", "cost"))
        rows = [{"a": self.row(late_us_p99=1)}] * 2 + [{"a": self.row(late_us_p99=1, fault="not all was accepted: {503: 1}")}]
        self.assertEqual(judge(cost, rows).verdict, "not measured")
        self.assertIn("not all was accepted", judge(cost, rows).reason)

    def test_medians_are_of_what_counts(self):
        rows = [{"a": 1, "why no b": "late"}, {"a": 3, "b": 5}, {"a": 90, "b": 90, "missing": "not all"}, {"a": 2}]
        self.assertEqual(medians(rows), {"a": 2, "b": 5})


class Tables(unittest.TestCase):
    def test_a_row_says_how_it_is_measured_again(self):
        row = table([judge(LESS, rounds(0.5, 0.7, 0.6))], "measure.py goals").splitlines()[-1]
        self.assertEqual(row, "| 2 | less is better | ≤ 1 | ≤ 0.5 | **0.6** (0.5 to 0.7) | met | `measure.py goals --only 2` |")

    def test_numbers_are_short(self):
        self.assertEqual([shown(one) for one in (0.12345, 12.345, 12345.6, None)], ["0.123", "12.3", "12346", ""])

    def test_goals_are_chosen_by_number(self):
        self.assertEqual({bar.goal for bar in chosen("1, 16b", BARS)}, {"1", "16b"})
        self.assertEqual(chosen("", BARS), list(BARS))
        with self.assertRaises(SystemExit):
            chosen("99", BARS)

    def test_every_goal_is_wanted_but_campaigns(self):
        numbers = {bar.goal.rstrip("b") for bar in BARS}
        self.assertEqual(numbers, {str(number) for number in range(1, 25)} - {"18", "23"})
        self.assertEqual({bar.group for bar in BARS}, set(GROUPS))


class Rounds(unittest.TestCase):
    def setUp(self):
        self.file = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "goals.jsonl"
        self.now = {"commit": "b", "release": 2, "seconds": 5, "shrink": 1}
        for group, release in (("ingest", 2), ("pages", 2), ("ingest", 1)):
            line = {"group": group, "settings": self.now | {"commit": "a", "release": release}, "rows": {group: {}}}
            with self.file.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def test_a_run_goes_on_behind_the_rounds_of_the_same_program(self):
        rounds = kept(self.file, self.now, True, ["ingest"])
        self.assertEqual(rounds, {"ingest": [{"ingest": {}}], "pages": [{"pages": {}}]})

    def test_a_new_run_forgets_only_what_it_measures(self):
        self.assertEqual(kept(self.file, self.now, False, ["ingest"]), {"pages": [{"pages": {}}]})
        self.assertEqual(len(self.file.read_text().splitlines()), 1)

    def test_a_line_that_was_not_written_to_its_end_is_no_round(self):
        with self.file.open("a") as file:
            file.write('{"group": "pag')
        self.assertEqual(len(kept(self.file, self.now, True, [])["pages"]), 1)


class Histograms(unittest.TestCase):
    def packed(self, numbers):
        body = b""
        for number in numbers:
            raw = (number << 1) ^ (number >> 63)
            while raw >= 0x80:
                body, raw = body + bytes([raw & 0x7F | 0x80]), raw >> 7
            body += bytes([raw])
        plain = struct.pack(">iiiiqqd", histogram.PLAIN | 0x10, len(body), 0, 3, 1, 10**8, 1.0) + body
        return base64.b64encode(struct.pack(">ii", histogram.PACKED | 0x10, len(zlib.compress(plain))) + zlib.compress(plain))

    def test_values_are_read_with_how_often_they_were_seen(self):
        # Value 5 thrice; then 2048 and 2049, which share a place, 300 times.
        self.assertEqual(histogram.counts(self.packed([-5, 3, -2042, 300])), [(5, 3), (2049, 300)])

    def test_a_quantile_is_the_value_that_the_share_does_not_exceed(self):
        text = self.packed([-1, 98, 1, 1])
        self.assertEqual([histogram.quantile(text, share) for share in (0.5, 0.98, 0.99, 1.0)], [1, 1, 2, 3])
        self.assertIsNone(histogram.quantile(self.packed([0]), 0.5))

    def test_something_else_is_no_histogram(self):
        with self.assertRaises(ValueError):
            histogram.counts(base64.b64encode(b"something else"))


def selftest(_):
    suite = unittest.defaultTestLoader.loadTestsFromModule(__import__("measure.selftest", fromlist=["selftest"]))
    return 0 if unittest.TextTestRunner(verbosity=1).run(suite).wasSuccessful() else 1
