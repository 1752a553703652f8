/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/knobs.h"

#include <stdio.h>
#include <string.h>

bool pf_knob_is(unsigned option)
{
    static const size_t fields[] = {
#define PF_KNOB_OFFSET(name) offsetof(struct pf_options, name),
        PF_KNOBS(PF_KNOB_OFFSET)
#undef PF_KNOB_OFFSET
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (pf_option_table[option].offset == fields[i])
            return true;
    return false;
}

void pf_knob_names(char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++)
        if (pf_knob_is(i) && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "",
                                     pf_option_table[i].name);
}
