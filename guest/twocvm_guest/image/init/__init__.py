"""The image's first process: makes the machine what it was measured as, starts the agent once, and ends with it.

It runs before anything else does, so it imports nothing but the standard library and what stands in this folder, and
`runtime.syscalls`. Whatever goes wrong ends the machine.
"""
