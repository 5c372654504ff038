/* An item laid over the component's own memory, without a copy: where the manifest's channel is a `window`. */

#ifndef WINDOW_H
#define WINDOW_H

#include "ports.h"

/* Lay the item at a window's port over new memory. False means that there is no memory for it; no such port is a trap. */
bool open_window(const char *port, struct text *content);

#endif
