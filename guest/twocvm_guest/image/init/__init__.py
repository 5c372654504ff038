"""The image's first process: makes the machine what it was measured as, starts the agent once, and ends with it.

It runs before anything else does, so it imports nothing but the standard library, what stands in this folder, and four
small modules of which the same holds: `image.command_line`, `image.verity`, `runtime.protect` and `runtime.syscalls`.
Whatever goes wrong ends the machine.
"""
