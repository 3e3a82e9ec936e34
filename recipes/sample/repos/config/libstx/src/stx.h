/* Functions that the programs of the platform share. */
#ifndef STX_H
#define STX_H

#include <stddef.h>

/* Copies the release of the platform (SW_VERSION of /etc/platform/release)
 * into version. Returns 0, or -1 if it is not known. */
int stx_sw_version(char *version, size_t size);

/* Prints "PROGRAM: message" as one line on standard output. */
void stx_say(const char *program, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
