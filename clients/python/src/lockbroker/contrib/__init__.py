"""Locks for other projects: `tooz`, `celery` and `apscheduler`. Each needs that project, and nothing else here does."""
