"""Gravity wells: plateaus of softmax policies, how long they last, and whether a run was in one."""
