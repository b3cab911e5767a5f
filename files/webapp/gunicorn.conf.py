"""Gunicorn's settings; its command line overrides them, and WEB_CONCURRENCY is the number of processes."""

wsgi_app = "wsgi:app"
bind = "0.0.0.0:8000"
worker_class = "gthread"
threads = 4
# Saves memory, and an invalid configuration stops the server instead of restarting workers forever.
preload_app = True
control_socket_disable = True


def child_exit(server, worker):
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
