"""Replicas of guests as components that others start, watch and command.

operator    request_switchover: what an operator asks of a running pair
"""
