#include "stx.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int stx_sw_version(char *version, size_t size)
{
    static const char key[] = "SW_VERSION=\"";
    char line[256];
    int found = -1;
    FILE *file = fopen("/etc/platform/release", "r");

    if (file == NULL)
        return -1;
    while (found != 0 && fgets(line, sizeof line, file) != NULL) {
        char *start = line + sizeof key - 1;
        char *end;

        if (strncmp(line, key, sizeof key - 1) != 0)
            continue;
        end = strchr(start, '"');
        if (end == NULL || (size_t)(end - start) >= size)
            continue;
        memcpy(version, start, (size_t)(end - start));
        version[end - start] = '\0';
        found = 0;
    }
    fclose(file);
    return found;
}

void stx_say(const char *program, const char *format, ...)
{
    va_list arguments;

    printf("%s: ", program);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}
