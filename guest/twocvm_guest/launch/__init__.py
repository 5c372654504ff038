"""What the host is given to launch a guest with: reference values, the identity block, and QEMU's command line."""
