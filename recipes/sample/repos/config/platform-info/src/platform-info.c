/* Prints the release of the platform, and how this program was built. */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include <stx.h>

#include "message.h"

#if REAL_TIME
static const char *schedule(void)
{
    struct sched_param parameter = {.sched_priority = 1};

    if (sched_setscheduler(0, SCHED_FIFO, &parameter) != 0)
        return strerror(errno);
    return "SCHED_FIFO";
}
#else
static const char *schedule(void)
{
    return "SCHED_OTHER";
}
#endif

int main(void)
{
    char version[32];

    if (stx_sw_version(version, sizeof version) != 0) {
        stx_say("platform-info", "no SW_VERSION in /etc/platform/release");
        return 1;
    }
    stx_say("platform-info", "StarlingX sample %s, %s build, scheduler %s: %s",
            version, BUILD_TYPE, schedule(), MESSAGE);
    return 0;
}
