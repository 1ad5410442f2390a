"""Pushes to the gateway at URL with the Python client: replaces, adds to and deletes groups, with and without compression.

Usage: push.py URL
"""

import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client import delete_from_gateway, push_to_gateway, pushadd_to_gateway

url = sys.argv[1]
registry = CollectorRegistry()
Gauge("python_last_success", "Last time.", registry=registry).set(7.5)
Counter("python_files", "Files.", ["kind"], registry=registry).labels("a/b").inc(3)
Histogram("python_seconds", "Time.", registry=registry).observe(0.3)
Summary("python_bytes", "Size.", registry=registry).observe(12)

push_to_gateway(url, job="python", registry=registry)
push_to_gateway(url, job="python", grouping_key={"path": "/var/tmp", "space": "a b", "empty": ""}, registry=registry)

added = CollectorRegistry()
Gauge("python_added", "Added.", registry=added).set(1)
pushadd_to_gateway(url, job="python", registry=added, compression="gzip")
push_to_gateway(url, job="python_gzip", registry=added, compression="gzip")
push_to_gateway(url, job="python_snappy", registry=added, compression="snappy")

push_to_gateway(url, job="python_gone", registry=added)
delete_from_gateway(url, job="python_gone")
