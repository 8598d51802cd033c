"""Generators of load that wrk has none of; each runs as a process of its own and prints one line of JSON."""
