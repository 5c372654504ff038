"""The means that keep a worker in, by name; what each is worth stands in `docs/runtime.md`."""

from __future__ import annotations

import enum


class Feature(enum.Enum):
    """One means of isolation. The value is its name in reports, and never changes."""

    OWN_UID = "own-uid"
    USER_NAMESPACE = "user-namespace"
    PID_NAMESPACE = "pid-namespace"
    IPC_NAMESPACE = "ipc-namespace"
    MOUNT_NAMESPACE = "mount-namespace"
    NETWORK_NAMESPACE = "network-namespace"
    UTS_NAMESPACE = "uts-namespace"
    CGROUP_NAMESPACE = "cgroup-namespace"
    OWN_FOLDERS = "own-folders"
    NO_NEW_PRIVILEGES = "no-new-privileges"
    NO_CAPABILITIES = "no-capabilities"
    NOT_DUMPABLE = "not-dumpable"
    DESCRIPTORS_CLOSED = "descriptors-closed"
    RESOURCE_LIMITS = "resource-limits"
    SYSTEM_CALL_FILTER = "system-call-filter"
    FILE_TIMES_HIDDEN = "file-times-hidden"
    NO_SWAP = "no-swap"
