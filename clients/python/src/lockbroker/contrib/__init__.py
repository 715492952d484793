"""Locks for other projects: `tooz`, `celery`, `apscheduler` and `django`. Each needs that project, and nothing else here does."""
