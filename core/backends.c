/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backends.h"

const struct pf_transport *const pf_backends[] = {NULL};
