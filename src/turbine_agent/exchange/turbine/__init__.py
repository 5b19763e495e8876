"""Turbine as a venue.

Everything here but `client.py` is without I/O: what bytes mean, what bytes to send, what is known after a
request, when to connect again. `client.py` owns the sockets and decides nothing.
"""
