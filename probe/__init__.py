"""Reads the kernel beside the server: a sidecar in the server's PID and network namespaces. JSON lines out.

Nothing here asks the server. What it shows comes from /proc and from netlink, so a server that is stopped, stuck or
lying is seen as it is.
"""
