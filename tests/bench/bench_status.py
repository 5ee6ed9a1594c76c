#!/usr/bin/env python3
"""How soon the status server answers while a run trains, and what answering costs the run.

    stagecoach train CONFIG ... &            # with a status server
    tests/bench/bench_status.py http://127.0.0.1:8080/ [--rate 200] [--seconds 10] [--rounds 6]

Rounds of silence and of requests at a steady rate take turns, so that what else the machine does falls on both. The latency
counts from when a request was due, so that one that waits behind another is not flattered. The steps of each round come from
the run itself, and only those that lie in it whole count."""
import argparse
import http.client
import json
import statistics
import time
import urllib.parse

PATHS = ["/api/v1/status", "/api/v1/stages", "/api/v1/status", "/metrics", "/api/v1/status", "/api/v1/steps?last=50"]


def get(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status}")
    return body


def load(connection, rate, seconds):
    latencies, start = [], time.monotonic()
    for i in range(int(rate * seconds)):
        due = start + i / rate
        time.sleep(max(0, due - time.monotonic()))
        get(connection, PATHS[i % len(PATHS)])
        latencies.append(time.monotonic() - due)
    return latencies


def step(connection):
    return json.loads(get(connection, "/api/v1/status"))["step"]


def step_seconds(connection, first, last):
    steps = json.loads(get(connection, "/api/v1/steps?last=10000"))["steps"]
    return [s["step_seconds"] for s in steps if first < s["step"] <= last]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=6)
    a = parser.parse_args()
    connection = http.client.HTTPConnection(urllib.parse.urlparse(a.url).netloc, timeout=60)
    latencies, ratios = [], []
    for turn in range(a.rounds):
        lengths = {}
        for asks in (turn % 2 == 0, turn % 2 != 0):
            first = step(connection) + 1
            if asks:
                latencies += load(connection, a.rate, a.seconds)
            else:
                time.sleep(a.seconds)
            lengths[asks] = step_seconds(connection, first, step(connection))
        quiet, busy = (statistics.mean(lengths[k]) for k in (False, True))
        ratios.append(quiet / busy)
        print(f"round {turn}: {1e3 * quiet:.2f} ms a step in silence, {1e3 * busy:.2f} ms with requests, ratio {quiet / busy:.4f}")
    latencies.sort()
    p = [1e3 * latencies[min(len(latencies) - 1, int(q * len(latencies)))] for q in (0.5, 0.9, 0.99, 0.999)]
    print(f"{len(latencies)} requests at {a.rate:g}/s: p50 {p[0]:.2f}, p90 {p[1]:.2f}, p99 {p[2]:.2f}, p99.9 {p[3]:.2f} ms")
    print(f"throughput with requests: {statistics.median(ratios):.4f} of that in silence (median of {len(ratios)} rounds)")


main()
