"""Pods of a serverless run on the nodes of a fleet: beside keep-alive, room decides which calls are cold."""
