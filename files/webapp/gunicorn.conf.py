"""gunicorn's settings; its command line overrides them, WEB_CONCURRENCY is the number of processes."""

wsgi_app = "wsgi:app"
bind = "0.0.0.0:8000"
worker_class = "gthread"
threads = 4
# Loaded once before the fork: less memory, and a bad configuration ends the server instead of looping its workers.
preload_app = True
control_socket_disable = True


def child_exit(server, worker):
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
