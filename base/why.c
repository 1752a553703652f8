/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/why.h"

#include <stdarg.h>
#include <stdio.h>

int pf_why(struct pf_why *why, int code, const char *format, ...)
{
    if (why) {
        va_list args;
        va_start(args, format);
        vsnprintf(why->text, sizeof why->text, format, args);
        va_end(args);
    }
    return code;
}
