/* Checks that this host is fit for service: exit status 0 if it is. */
#include <stdio.h>
#include <sys/statvfs.h>

#include <stx.h>

enum { MEMORY_MIB = 64, ROOT_MIB = 4 };

static long available_memory_mib(void)
{
    char line[128];
    long kib = -1;
    FILE *file = fopen("/proc/meminfo", "r");

    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %ld kB", &kib) == 1)
            break;
    fclose(file);
    return kib < 0 ? -1 : kib / 1024;
}

static long free_root_mib(void)
{
    struct statvfs root;

    if (statvfs("/", &root) != 0)
        return -1;
    return (long)((unsigned long long)root.f_bavail * root.f_frsize >> 20);
}

static int check(const char *what, long found, long needed)
{
    int good = found >= needed;

    stx_say("mtce-check", "%s: %ld MiB, at least %ld: %s", what, found, needed,
            good ? "good" : "BAD");
    return good;
}

int main(void)
{
    int good = check("available memory", available_memory_mib(), MEMORY_MIB);

    good &= check("free in the root file system", free_root_mib(), ROOT_MIB);
    return good ? 0 : 1;
}
