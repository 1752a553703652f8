/* SPDX-License-Identifier: BSD-2-Clause */
/* What the table can't say: which values of several options go together. */
#include "core/options.h"

#include <errno.h>

int pf_options_agree(const struct pf_options *options, struct pf_why *why)
{
    if (options->throttle_initial > options->throttle_max)
        return pf_why(why, -EINVAL,
                      "throttle-initial is %u percent, but throttle-max only %u: change both",
                      options->throttle_initial, options->throttle_max);
    return 0;
}
