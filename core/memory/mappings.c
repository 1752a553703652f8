/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/mappings.h"

#include <errno.h>
#include <string.h>

int pf_mappings_open(struct pf_mappings *mappings)
{
    mappings->smaps = fopen("/proc/self/smaps", "re");
    return mappings->smaps ? 0 : -errno;
}

void pf_mappings_close(struct pf_mappings *mappings)
{
    if (mappings->smaps)
        fclose(mappings->smaps);
    mappings->smaps = NULL;
}

/* The line that begins a mapping, as in proc(5): "start-end rwxp offset major:minor inode". */
static bool begins(const char *line, struct pf_mapping *mapping)
{
    unsigned long start;
    unsigned long end;
    unsigned long offset;
    char rights[5];
    struct pf_mapping found = {.page_size = 4096};
    if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu", &start, &end, rights, &offset,
               &found.device_major, &found.device_minor, &found.inode) != 7)
        return false;
    found.start = start;
    found.end = end;
    found.offset = offset;
    found.readable = rights[0] == 'r';
    found.shared = rights[3] == 's';
    *mapping = found;
    return true;
}

static bool has_flag(const char *line, const char *flag)
{
    for (const char *at = line; (at = strchr(at, ' '));)
        if (strncmp(++at, flag, 2) == 0)
            return true;
    return false;
}

/* VmFlags is the last line of a mapping. */
static bool ends(const char *line, struct pf_mapping *mapping)
{
    if (strncmp(line, "VmFlags:", 8) != 0)
        return false;
    mapping->locked = has_flag(line, "lo");
    mapping->hugetlb = has_flag(line, "ht");
    mapping->reserved = !has_flag(line, "nr");
    mapping->thp_on = has_flag(line, "hg");
    mapping->thp_off = has_flag(line, "nh");
    return true;
}

bool pf_mappings_next(struct pf_mappings *mappings, struct pf_mapping *mapping)
{
    char line[512];
    bool inside = false;
    while (fgets(line, sizeof line, mappings->smaps)) {
        size_t kib;
        unsigned eligible;
        if (!inside)
            inside = begins(line, mapping);
        else if (sscanf(line, "KernelPageSize: %zu kB", &kib) == 1)
            mapping->page_size = kib << 10;
        else if (sscanf(line, "THPeligible: %u", &eligible) == 1)
            mapping->thp_eligible = eligible > 0;
        else if (ends(line, mapping))
            return true;
    }
    return false;
}
