"""The runner's parts: ports and requests, targets, suites, one suite's conversation, and the report.

Owns everything that `run` is made of; holds no client code, which lives in one folder per suite.
"""
