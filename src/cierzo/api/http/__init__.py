"""Transport: sockets, HTTP/1.1, limits at the edge, server-sent events. Knows no dialect."""
