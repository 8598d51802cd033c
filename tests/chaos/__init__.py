"""Viewers between real sockets while the gateway breaks in every way that gateways do."""
