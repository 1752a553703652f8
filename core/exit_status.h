/* SPDX-License-Identifier: BSD-2-Clause */
/* Exit statuses of the command and of a job that the engine ends; documented in pageferry(1). */
#ifndef PF_CORE_EXIT_STATUS_H
#define PF_CORE_EXIT_STATUS_H

enum pf_exit {
    PF_EXIT_OK = 0,
    PF_EXIT_FAILED = 1,   /* it did not happen; a source job goes on running */
    PF_EXIT_USAGE = 2,    /* the command line makes no sense; nothing was tried */
    PF_EXIT_UNKNOWN = 3,  /* the job went silent or away in mid-command: ask its status */
    PF_EXIT_SOURCE = 75,  /* source: link lost when the destination may already run */
    PF_EXIT_ARRIVAL = 76, /* destination: link lost before all memory had arrived */
    PF_EXIT_NOEXEC = 126, /* run, receive: the program was found but can't be run */
    PF_EXIT_NOPROGRAM = 127,
};

#endif
