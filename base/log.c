/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEVEL_UNSET = -1 };

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static atomic_int log_level = LEVEL_UNSET;

static int level_from_environment(void)
{
    const char *wanted = getenv("PAGEFERRY_LOG");
    for (int i = 0; wanted && i <= PF_LOG_DEBUG; i++)
        if (strcmp(wanted, level_names[i]) == 0)
            return i;
    return PF_LOG_WARN;
}

void pf_log_set_level(enum pf_log_level level)
{
    atomic_store(&log_level, (int)level);
}

void pf_log(enum pf_log_level level, const char *format, ...)
{
    int limit = atomic_load(&log_level);
    if (limit == LEVEL_UNSET) {
        limit = level_from_environment();
        atomic_store(&log_level, limit);
    }
    if ((int)level > limit)
        return;

    char line[640];
    int used = snprintf(line, sizeof line, "pageferry: %s: ", level_names[level]);
    va_list args;
    va_start(args, format);
    int added = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
    va_end(args);
    size_t length = (size_t)used + (size_t)(added > 0 ? added : 0);
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    /* A log line that can't be written has nowhere to be reported. */
    ssize_t written = write(STDERR_FILENO, line, length);
    (void)written;
}
