/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/backing.h"
#include "core/memory/uffd.h"
#include "service/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct {
    uint64_t bit;
    const char *name;
} features[] = {
    {UFFD_FEATURE_THREAD_ID, "thread-id"},
    {UFFD_FEATURE_EVENT_FORK, "event-fork"},
    {UFFD_FEATURE_EVENT_REMAP, "event-remap"},
    {UFFD_FEATURE_EVENT_REMOVE, "event-remove"},
    {UFFD_FEATURE_EVENT_UNMAP, "event-unmap"},
    {UFFD_FEATURE_MISSING_HUGETLBFS, "missing-hugetlbfs"},
    {UFFD_FEATURE_MISSING_SHMEM, "missing-shmem"},
    {UFFD_FEATURE_MINOR_HUGETLBFS, "minor-hugetlbfs"},
    {UFFD_FEATURE_MINOR_SHMEM, "minor-shmem"},
    {UFFD_FEATURE_PAGEFAULT_FLAG_WP, "write-protect"},
    {UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "write-protect-shmem"},
    {PF_UFFD_WP_UNPOPULATED, "write-protect-unpopulated"},
    {PF_UFFD_WP_ASYNC, "write-protect-async"},
    {UFFD_FEATURE_EXACT_ADDRESS, "exact-address"},
    {PF_UFFD_POISON, "poison"},
    {PF_UFFD_MOVE, "move"},
};

static void refused(struct pf_probe *probe, int error)
{
    struct pf_probe_line *line;
    if (error == -ENOSYS) {
        line = pf_probe_no(probe, "userfaultfd", "the kernel was built without it");
        pf_probe_remedy(line, "boot a kernel with CONFIG_USERFAULTFD=y");
        return;
    }
    line = pf_probe_no(probe, "userfaultfd", "not permitted (%s)", strerror(-error));
    pf_probe_remedy(line,
                    "join the group of /dev/userfaultfd (udev rule %s/60-pageferry-userfaultfd"
                    ".rules), or get CAP_SYS_PTRACE, or sysctl vm.unprivileged_userfaultfd=1",
                    PF_EXAMPLES_DIR);
}

/* The names of the features that are offered, or of those that are not. */
static void name_features(uint64_t offered, bool wanted, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof features / sizeof features[0] && used < size; i++)
        if (!!(offered & features[i].bit) == wanted)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? " " : "",
                                     features[i].name);
}

/* None of them is needed for 4 KiB anonymous memory: so what is missing is named in a yes. */
static void list_features(struct pf_probe *probe, uint64_t offered)
{
    char have[256];
    char lack[256];
    name_features(offered, true, have, sizeof have);
    name_features(offered, false, lack, sizeof lack);
    pf_probe_yes(probe, "userfaultfd-features", "%s%s%s", have[0] ? have : "none",
                 lack[0] ? "; missing: " : "", lack);
}

static void test_operations(struct pf_probe *probe)
{
    struct pf_uffd uffd;
    struct pf_why why;
    int error = pf_uffd_open(&uffd, 0, &why);
    if (!error)
        error = pf_uffd_probe(&uffd, &why);
    if (error) {
        pf_probe_no(probe, "userfaultfd-operations", "%.150s", why.text);
    } else {
        pf_probe_yes(probe, "userfaultfd-operations", "REGISTER UNREGISTER WAKE COPY ZEROPAGE");
        probe->postcopy = true;
    }
    pf_uffd_close(&uffd);
}

/* Write a page into a region's file and map it, as shared memory is placed in place. */
static int try_in_place(const struct pf_uffd *uffd, size_t page_size, struct pf_why *why)
{
    struct pf_regions *regions = calloc(1, sizeof *regions);
    struct pf_region *region;
    size_t done;
    bool zeropage;
    if (!regions)
        return pf_why(why, -ENOMEM, "no memory");
    int error = pf_regions_map(regions, "probe", page_size, page_size, FERRY_SHARED, &region, why);
    char *alias = error ? NULL : pf_backing_map_again(region);
    if (!error && !alias)
        error = pf_why(why, -ENOMEM, "no second mapping: %s", strerror(errno));
    if (alias) {
        error = pf_uffd_register(uffd, region->addr, region->bytes, true, &zeropage);
        memset(alias, 1, page_size);
        if (!error)
            error = pf_uffd_continue(uffd, region->addr, page_size, &done);
        if (error)
            pf_why(why, -ENOTSUP, "the kernel refuses it (%s)", strerror(error < 0 ? -error : 0));
        munmap(alias, page_size);
    }
    pf_regions_unmap(regions);
    free(regions);
    return error;
}

/* Shared memory without a copy; without it, by copy. */
static void test_in_place(struct pf_probe *probe)
{
    static const struct {
        const char *name;
        uint64_t feature;
        size_t page_size;
    } kinds[] = {
        {"in-place-4K", UFFD_FEATURE_MINOR_SHMEM, PF_PAGE_SIZE},
        {"in-place-2M", UFFD_FEATURE_MINOR_HUGETLBFS, FERRY_PAGE_2M},
    };
    struct pf_uffd uffd;
    struct pf_why why;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (pf_uffd_open(&uffd, kinds[i].feature, &why))
            return;
        if (!(uffd.features & kinds[i].feature))
            pf_probe_no(probe, kinds[i].name, "no minor faults: shared memory is copied");
        else if (try_in_place(&uffd, kinds[i].page_size, &why))
            pf_probe_no(probe, kinds[i].name, "%.150s", why.text);
        else
            pf_probe_yes(probe, kinds[i].name, "shared memory arrives without a copy (CONTINUE)");
        pf_uffd_close(&uffd);
    }
}

void pf_probe_userfaultfd(struct pf_probe *probe)
{
    uint64_t offered = 0;
    int error = pf_uffd_offered(&offered, NULL);
    if (error) {
        refused(probe, error);
        return;
    }
    bool device = access("/dev/userfaultfd", R_OK | W_OK) == 0;
    pf_probe_yes(probe, "userfaultfd", "through %s",
                 device ? "/dev/userfaultfd" : "userfaultfd(2)");
    list_features(probe, offered);
    test_operations(probe);
    test_in_place(probe);
}
