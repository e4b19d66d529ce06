"""Traces of requests, for Zipkin; see `coir.eventlet.zipkin.patcher`."""
