"""A gunicorn worker class whose threads are never held by slow clients.

`worker.py` is the loop that owns every socket except those of requests being answered. It buffers
requests until a thread can answer them at once, and sends answers that clients haven't read yet.
`connection.py` holds one client's state, `pool.py` the threads, `exchange.py` one request in a
thread. Nothing here knows pages, models or the wire; only `addresses.py` knows which paths accept
files.

Why not another server: gunicorn's own threads read and write sockets themselves. waitress buffers,
but has no deadline for a request or for a client that doesn't read, has one limit for all bodies,
and checks every connection for each event. granian, hypercorn and uvicorn pass a body to the WSGI
application as it trickles in, which holds a thread.
"""
