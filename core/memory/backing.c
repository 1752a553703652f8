/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/backing.h"

#include "core/memory/mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

const char *pf_page_size_name(unsigned page_shift)
{
    static const char *const names[] = {[12] = "4 KiB",  [16] = "64 KiB",  [21] = "2 MiB",
                                        [25] = "32 MiB", [29] = "512 MiB", [30] = "1 GiB"};
    bool known = page_shift < sizeof names / sizeof names[0] && names[page_shift];
    return known ? names[page_shift] : "an odd size";
}

/* ---- the pool -------------------------------------------------------------------------------- */

/* The count of one kind of huge pages; -1 if the machine has no such pages. */
static long pool_count(unsigned page_shift, const char *what)
{
    char path[128];
    long count = -1;
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%zukB/%s_hugepages",
             ((size_t)1 << page_shift) >> 10, what);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    if (fscanf(file, "%ld", &count) != 1)
        count = -1;
    fclose(file);
    return count;
}

static int not_mapped(const struct pf_region *region, int error, struct pf_why *why)
{
    unsigned shift = region->page_shift;
    long wanted = (long)pf_region_pages(region);
    long all = pool_count(shift, "nr");
    long left = pool_count(shift, "free") - pool_count(shift, "resv");
    if (pf_region_huge(region) && all < 0)
        return pf_why(why, -ENOTSUP, "region \"%s\": this machine has no huge pages of %s",
                      region->name, pf_page_size_name(shift));
    if (pf_region_huge(region) && wanted > left)
        return pf_why(why, -ENOMEM,
                      "region \"%s\" needs huge pages of %s: %ld, and %ld are free: `echo %ld "
                      "> /sys/kernel/mm/hugepages/hugepages-%zukB/nr_hugepages` makes room",
                      region->name, pf_page_size_name(shift), wanted, left, all + wanted - left,
                      ((size_t)1 << shift) >> 10);
    return pf_why(why, error, "region \"%s\": cannot map %zu bytes%s: %s", region->name,
                  region->bytes, region->flags & FERRY_FIXED_ADDR ? " at its fixed address" : "",
                  strerror(-error));
}

/* ---- mapping --------------------------------------------------------------------------------- */

/* A file of our own, that nobody can shorten. */
static int make_file(const struct pf_region *region)
{
    unsigned how = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    if (pf_region_huge(region))
        how |= MFD_HUGETLB | region->page_shift << MFD_HUGE_SHIFT;
    int fd = memfd_create(region->name, how);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)region->bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static int map_at(struct pf_region *region, char *wanted, int how)
{
    if (wanted)
        how |= MAP_FIXED_NOREPLACE;
    region->addr =
        mmap(wanted, region->bytes, PROT_READ | PROT_WRITE, how, region->fd, (off_t)region->offset);
    return region->addr == MAP_FAILED ? -errno : 0;
}

static int map_anonymous(struct pf_region *region, char *wanted)
{
    int how = MAP_PRIVATE | MAP_ANONYMOUS;
    if (pf_region_huge(region))
        how |= MAP_HUGETLB | (int)(region->page_shift << MAP_HUGE_SHIFT);
    else
        how |= MAP_NORESERVE;
    region->fd = -1;
    return map_at(region, wanted, how);
}

static int map_file(struct pf_region *region, char *wanted)
{
    region->fd = make_file(region);
    if (region->fd < 0)
        return region->fd;
    int error = map_at(region, wanted, MAP_SHARED);
    if (error)
        close(region->fd);
    return error;
}

int pf_backing_map(struct pf_region *region, char *wanted, struct pf_why *why)
{
    int error = pf_region_shared(region) ? map_file(region, wanted) : map_anonymous(region, wanted);
    return error ? not_mapped(region, error, why) : 0;
}

char *pf_backing_map_again(const struct pf_region *region)
{
    char *again = mmap(NULL, region->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd,
                       (off_t)region->offset);
    return again == MAP_FAILED ? NULL : again;
}

int pf_backing_empty_file(const struct pf_region *region, struct pf_why *why)
{
    if (fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)region->offset,
                  (off_t)region->bytes) < 0)
        return pf_why(why, -errno, "region \"%s\": its memfd cannot be emptied: %s", region->name,
                      strerror(errno));
    return pf_backing_reserve(region, why);
}

int pf_backing_reserve(const struct pf_region *region, struct pf_why *why)
{
    if (!pf_region_huge(region))
        return 0;
    /* Mapping reserves, and the reservation of a file outlives the mapping. */
    char *again = pf_backing_map_again(region);
    if (!again)
        return not_mapped(region, -errno, why);
    munmap(again, region->bytes);
    return 0;
}

/* ---- memory of the program's own ------------------------------------------------------------- */

static int take_mapping(struct pf_region *region, const struct pf_mapping *mapping, bool first,
                        struct pf_why *why)
{
    unsigned shift = (unsigned)__builtin_ctzl(mapping->page_size);
    if (first)
        region->page_shift = shift;
    else if (region->page_shift != shift)
        return pf_why(why, -EINVAL, "region \"%s\" has pages of %s and of %s: make it two regions",
                      region->name, pf_page_size_name(region->page_shift),
                      pf_page_size_name(shift));
    return 0;
}

/* Visit the mappings under a region; see() returns 0 or -errno. */
static int look_at(struct pf_region *region, struct pf_why *why,
                   int (*see)(struct pf_region *, const struct pf_mapping *, struct pf_why *))
{
    struct pf_mappings mappings;
    struct pf_mapping mapping;
    bool first = true;
    int error = pf_mappings_open(&mappings);
    if (error)
        return pf_why(why, error, "cannot read /proc/self/smaps: %s", strerror(-error));
    while (!error && pf_mappings_next(&mappings, &mapping)) {
        if (!pf_mapping_overlaps(&mapping, region->addr, region->bytes))
            continue;
        error = see(region, &mapping, why);
        if (!error)
            error = take_mapping(region, &mapping, first, why);
        first = false;
    }
    pf_mappings_close(&mappings);
    return error;
}

static int see_private(struct pf_region *region, const struct pf_mapping *mapping,
                       struct pf_why *why)
{
    return mapping->shared ? pf_why(why, -EINVAL,
                                    "region \"%s\" is shared memory: declare it with its memfd, by "
                                    "ferry_job_protect_fd()",
                                    region->name)
                           : 0;
}

int pf_backing_of_memory(struct pf_region *region, struct pf_why *why)
{
    region->page_shift = PF_PAGE_SHIFT;
    return look_at(region, why, see_private);
}

static int see_file(struct pf_region *region, const struct pf_mapping *mapping, struct pf_why *why)
{
    struct stat file;
    /* Where the mapping would have to begin in the file for the region to be where it says. */
    int64_t ahead = (int64_t)((uintptr_t)region->addr - mapping->start);
    if (fstat(region->fd, &file) < 0)
        return pf_why(why, -errno, "region \"%s\": %s", region->name, strerror(errno));
    if (mapping->shared && mapping->inode == file.st_ino &&
        mapping->device_major == major(file.st_dev) &&
        mapping->device_minor == minor(file.st_dev) &&
        (int64_t)mapping->offset + ahead == (int64_t)region->offset)
        return 0;
    return pf_why(why, -EINVAL,
                  "region \"%s\": what is mapped at %p is not the file at offset %llu, shared",
                  region->name, (void *)region->addr, (unsigned long long)region->offset);
}

int pf_backing_of_file(struct pf_region *region, struct pf_why *why)
{
    struct statfs system;
    if (fstatfs(region->fd, &system) < 0)
        return pf_why(why, -errno, "region \"%s\": no usable descriptor: %s", region->name,
                      strerror(errno));
    if (system.f_type != TMPFS_MAGIC && system.f_type != HUGETLBFS_MAGIC)
        return pf_why(why, -EINVAL, "region \"%s\": the file is no memfd", region->name);
    region->page_shift = PF_PAGE_SHIFT;
    return look_at(region, why, see_file);
}
