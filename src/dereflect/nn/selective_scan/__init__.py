"""Selective scan: the recurrence of Mamba state spaces, on any device, with or without a scan order."""

from dereflect.nn.selective_scan.dispatch import selective_scan, selective_scan_reference

__all__ = ["selective_scan", "selective_scan_reference"]
