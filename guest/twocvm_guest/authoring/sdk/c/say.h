/* What a component says while its author looks on: `twocvm run --local` shows it, and in a guest it leads nowhere. */

#ifndef SAY_H
#define SAY_H

/* Say one line, as printf has it, up to 511 characters. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
