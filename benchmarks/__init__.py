"""Measurements that compare chanserv with its peers."""
