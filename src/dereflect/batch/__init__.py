"""Folders and buckets of photos, over one process or many machines, with a manifest and nothing lost."""

from dereflect.batch.job import BatchJob, Summary
from dereflect.batch.run import run_batch

__all__ = ["BatchJob", "Summary", "run_batch"]
