"""Reverse proxy that stands in front of a Discord Activity server and answers from the API Gateway."""

__version__ = "0.1.0"
