/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/pagemap.h"
#include "service/human.h"
#include "service/probe.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

void pf_probe_pagemap(struct pf_probe *probe)
{
    static const struct pf_scan_query present = {.all = PF_SCAN_PRESENT};
    struct pf_region page = {
        .addr = (char *)((uintptr_t)probe & ~(uintptr_t)(PF_PAGE_SIZE - 1)),
        .bytes = PF_PAGE_SIZE,
        .page_shift = PF_PAGE_SHIFT,
    };
    struct pf_pageset found;
    struct pf_why why = {""};
    int fd = pf_pagemap_open(&why);
    int error = fd < 0 ? fd : pf_pageset_init(&found, 1);
    if (!error) {
        error = pf_pagemap_scan(fd, &page, (struct pf_run){0, 1}, &present, &found);
        pf_pageset_free(&found);
    }
    if (error)
        pf_probe_remedy(
            pf_probe_no(probe, "pagemap-scan", "PAGEMAP_SCAN is not there (%s)", strerror(-error)),
            "Linux 6.7 and later have it; without it pagemap is read, which takes "
            "longer");
    else
        pf_probe_yes(probe, "pagemap-scan", "PAGEMAP_SCAN finds the pages in use");
    if (fd >= 0)
        close(fd);
}

/* CAP_IPC_LOCK lifts the memlock limit, for root and others alike. */
static bool may_lock_anything(void)
{
    enum { CAP_IPC_LOCK_BIT = 14 };
    char line[256];
    uint64_t effective = 0;
    FILE *status = fopen("/proc/self/status", "re");
    if (!status)
        return false;
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "CapEff: %" SCNx64, &effective) == 1)
            break;
    fclose(status);
    return effective >> CAP_IPC_LOCK_BIT & 1;
}

void pf_probe_memlock(struct pf_probe *probe)
{
    struct rlimit limit = {0, 0};
    char size[32];
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_cur == RLIM_INFINITY) {
        pf_probe_yes(probe, "memlock", "unlimited");
        return;
    }
    pf_human_bytes(limit.rlim_cur < INT64_MAX ? (int64_t)limit.rlim_cur : INT64_MAX, size,
                   sizeof size);
    if (may_lock_anything()) {
        pf_probe_yes(probe, "memlock", "limit %s, lifted by CAP_IPC_LOCK", size);
        return;
    }
    struct pf_probe_line *line = pf_probe_no(
        probe, "memlock", "limit %s: verbs can register no more of a job than that; tcp needs none",
        size);
    pf_probe_remedy(line,
                    "install %s/60-pageferry-memlock.conf in /etc/security/limits.d and "
                    "log in again",
                    PF_EXAMPLES_DIR);
}

/* -errno if the kernel has no such pool. */
static int pool_count(unsigned kib, const char *which, unsigned long *count)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%ukB/%s", kib, which);
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    int fields = fscanf(file, "%lu", count);
    fclose(file);
    return fields == 1 ? 0 : -EIO;
}

static void probe_pool(struct pf_probe *probe, const char *name, unsigned kib)
{
    unsigned long total = 0;
    unsigned long unused = 0;
    if (pool_count(kib, "nr_hugepages", &total) || pool_count(kib, "free_hugepages", &unused)) {
        pf_probe_no(probe, name, "the kernel or the CPU has no pages of this size");
    } else if (total == 0) {
        pf_probe_remedy(pf_probe_no(probe, name, "the pool is empty"),
                        "for jobs that use them: write a number to "
                        "/sys/kernel/mm/hugepages/hugepages-%ukB/nr_hugepages",
                        kib);
    } else {
        pf_probe_yes(probe, name, "%lu pages, %lu of them free", total, unused);
    }
}

void pf_probe_huge_pages(struct pf_probe *probe)
{
    probe_pool(probe, "huge-pages-2M", 2048);
    probe_pool(probe, "huge-pages-1G", 1048576);
}
