/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than some distributions' <linux/userfaultfd.h>; the numbers are the kernel's ABI. */
#define FEATURE_WP_UNPOPULATED (UINT64_C(1) << 13)
#define FEATURE_POISON         (UINT64_C(1) << 14)
#define FEATURE_WP_ASYNC       (UINT64_C(1) << 15)
#define FEATURE_MOVE           (UINT64_C(1) << 16)

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
    {FEATURE_WP_UNPOPULATED, "write-protect-unpopulated"},
    {FEATURE_WP_ASYNC, "write-protect-async"},
    {UFFD_FEATURE_EXACT_ADDRESS, "exact-address"},
    {FEATURE_POISON, "poison"},
    {FEATURE_MOVE, "move"},
};

static const struct {
    uint64_t bit;
    const char *name;
} operations[] = {
    {UINT64_C(1) << _UFFDIO_WAKE, "WAKE"},
    {UINT64_C(1) << _UFFDIO_COPY, "COPY"},
    {UINT64_C(1) << _UFFDIO_ZEROPAGE, "ZEROPAGE"},
};

/* *how: which of the two ways it was. -errno of the system call if neither works. */
static int open_userfaultfd(const char **how)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device >= 0) {
        int fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        close(device);
        *how = "/dev/userfaultfd";
        if (fd >= 0)
            return fd;
    }
    *how = "userfaultfd(2)";
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

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

/* The operations that the kernel offers on anonymous memory. -errno. */
static int test_range(int fd, uint64_t *offered)
{
    size_t length = (size_t)sysconf(_SC_PAGESIZE);
    void *range = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (range == MAP_FAILED)
        return -errno;
    struct uffdio_register reg = {
        .range = {.start = (uintptr_t)range, .len = length},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    int error = ioctl(fd, UFFDIO_REGISTER, &reg) == 0 ? 0 : -errno;
    *offered = reg.ioctls;
    munmap(range, length);
    return error;
}

static void list_operations(struct pf_probe *probe, int fd)
{
    uint64_t offered = 0;
    char missing[64] = "";
    int error = test_range(fd, &offered);
    if (error) {
        pf_probe_no(probe, "userfaultfd-operations", "registering a page failed: %s",
                    strerror(-error));
        return;
    }
    for (size_t i = 0, used = 0; i < sizeof operations / sizeof operations[0]; i++)
        if (!(offered & operations[i].bit))
            used +=
                (size_t)snprintf(missing + used, sizeof missing - used, " %s", operations[i].name);
    if (missing[0]) {
        pf_probe_no(probe, "userfaultfd-operations", "missing on anonymous memory:%s", missing);
        return;
    }
    pf_probe_yes(probe, "userfaultfd-operations", "REGISTER WAKE COPY ZEROPAGE");
    probe->postcopy = true;
}

void pf_probe_userfaultfd(struct pf_probe *probe)
{
    const char *how;
    int fd = open_userfaultfd(&how);
    if (fd < 0) {
        refused(probe, fd);
        return;
    }
    pf_probe_yes(probe, "userfaultfd", "through %s", how);
    /* No features asked for: the answer names all that the kernel has. */
    struct uffdio_api api = {.api = UFFD_API};
    if (ioctl(fd, UFFDIO_API, &api) == 0) {
        list_features(probe, api.features);
        list_operations(probe, fd);
    } else {
        pf_probe_no(probe, "userfaultfd-features", "the API handshake failed: %s", strerror(errno));
    }
    close(fd);
}
