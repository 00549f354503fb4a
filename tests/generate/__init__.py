"""The middle: asks, jobs, answers, receipts; with a real engine, in a process or without one."""
