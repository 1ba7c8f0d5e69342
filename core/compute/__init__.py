"""Devices, precision, processes and memory."""
