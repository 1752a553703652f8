/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_descriptor(struct pf_why *why)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device >= 0) {
        int fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        int error = errno;
        close(device);
        if (fd >= 0)
            return fd;
        errno = error;
    }
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        return fd;
    if (errno == ENOSYS)
        return pf_why(why, -ENOSYS,
                      "this kernel has no userfaultfd (CONFIG_USERFAULTFD): post-copy needs it");
    return pf_why(why, -errno,
                  "cannot open a userfaultfd: %s. Give the user access to /dev/userfaultfd (the "
                  "udev rule 60-pageferry-userfaultfd.rules does), or CAP_SYS_PTRACE, or set "
                  "vm.unprivileged_userfaultfd=1",
                  strerror(errno));
}

static int handshake(int fd, uint64_t wanted, uint64_t *granted, struct pf_why *why)
{
    struct uffdio_api api = {.api = UFFD_API, .features = wanted};
    if (ioctl(fd, UFFDIO_API, &api) < 0)
        return pf_why(why, -errno, "the kernel refused the userfaultfd handshake: %s",
                      strerror(errno));
    uint64_t needed = 1ull << _UFFDIO_REGISTER | 1ull << _UFFDIO_UNREGISTER;
    if ((api.ioctls & needed) != needed)
        return pf_why(why, -ENOTSUP, "this kernel's userfaultfd can't register ranges");
    *granted = api.features;
    return 0;
}

int pf_uffd_offered(uint64_t *offered, struct pf_why *why)
{
    int fd = open_descriptor(why);
    if (fd < 0)
        return fd;
    int error = handshake(fd, 0, offered, why);
    close(fd);
    return error;
}

int pf_uffd_open(struct pf_uffd *uffd, uint64_t wanted, struct pf_why *why)
{
    uint64_t offered = 0;
    uint64_t granted = 0;
    *uffd = (struct pf_uffd){.fd = -1};
    int error = pf_uffd_offered(&offered, why);
    if (error)
        return error;
    int fd = open_descriptor(why);
    if (fd < 0)
        return fd;
    error = handshake(fd, wanted & offered, &granted, why);
    if (error) {
        close(fd);
        return error;
    }
    *uffd = (struct pf_uffd){.fd = fd, .features = wanted & offered};
    return 0;
}

int pf_uffd_unblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ? -errno : 0;
}

void pf_uffd_close(struct pf_uffd *uffd)
{
    if (uffd->fd >= 0)
        close(uffd->fd);
    uffd->fd = -1;
}

int pf_uffd_register(const struct pf_uffd *uffd, void *addr, size_t bytes, bool minor,
                     bool *zeropage)
{
    struct uffdio_register request = {
        .range = {.start = (uintptr_t)addr, .len = bytes},
        .mode = UFFDIO_REGISTER_MODE_MISSING | (minor ? UFFDIO_REGISTER_MODE_MINOR : 0),
    };
    if (ioctl(uffd->fd, UFFDIO_REGISTER, &request) < 0)
        return -errno;
    *zeropage = request.ioctls & 1ull << _UFFDIO_ZEROPAGE;
    uint64_t needed =
        1ull << _UFFDIO_COPY | 1ull << _UFFDIO_WAKE | (minor ? 1ull << _UFFDIO_CONTINUE : 0);
    if ((request.ioctls & needed) == needed)
        return 0;
    pf_uffd_unregister(uffd, addr, bytes);
    return -ENOTSUP;
}

int pf_uffd_unregister(const struct pf_uffd *uffd, void *addr, size_t bytes)
{
    struct uffdio_range range = {.start = (uintptr_t)addr, .len = bytes};
    int error = ioctl(uffd->fd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
    /*
     * The kernel wakes who waits before it takes the range out: a thread that holds the lock of the
     * mapping alone (6.4 on) may fault in between, and would wait for ever.
     */
    pf_uffd_wake(uffd, addr, bytes);
    return error;
}

/*
 * The kernel answers a placement that stopped half-way with EAGAIN and the bytes done; the reason
 * it stopped shows only when the rest is tried. With nothing done, EAGAIN means that the mapping
 * is changing and an event is waiting to be read.
 */
static int judge(int64_t moved, int error, size_t bytes, size_t *done)
{
    if (moved > 0) {
        *done += (size_t)moved;
        if (*done >= bytes)
            return PF_PLACED_ALL;
        return -EINPROGRESS;
    }
    switch (error) {
    case EEXIST:
        return PF_PLACED_EXISTS;
    case EAGAIN:
        return PF_PLACED_AGAIN;
    case ENOENT:
        return PF_PLACED_UNMAPPED;
    default:
        return -error;
    }
}

int pf_uffd_copy(const struct pf_uffd *uffd, void *to, const void *from, size_t bytes, size_t *done)
{
    int result;
    *done = 0;
    do {
        struct uffdio_copy copy = {
            .dst = (uintptr_t)to + *done,
            .src = (uintptr_t)from + *done,
            .len = bytes - *done,
        };
        int error = ioctl(uffd->fd, UFFDIO_COPY, &copy) < 0 ? errno : 0;
        result = judge(error ? copy.copy : (int64_t)copy.len, error, bytes, done);
    } while (result == -EINPROGRESS);
    return result;
}

int pf_uffd_zero(const struct pf_uffd *uffd, void *to, size_t bytes, size_t *done)
{
    int result;
    *done = 0;
    do {
        struct uffdio_zeropage zero = {
            .range = {.start = (uintptr_t)to + *done, .len = bytes - *done},
        };
        int error = ioctl(uffd->fd, UFFDIO_ZEROPAGE, &zero) < 0 ? errno : 0;
        result = judge(error ? zero.zeropage : (int64_t)zero.range.len, error, bytes, done);
    } while (result == -EINPROGRESS);
    return result;
}

int pf_uffd_continue(const struct pf_uffd *uffd, void *to, size_t bytes, size_t *done)
{
    int result;
    *done = 0;
    do {
        struct uffdio_continue request = {
            .range = {.start = (uintptr_t)to + *done, .len = bytes - *done},
        };
        int error = ioctl(uffd->fd, UFFDIO_CONTINUE, &request) < 0 ? errno : 0;
        result = judge(error ? request.mapped : (int64_t)request.range.len, error, bytes, done);
    } while (result == -EINPROGRESS);
    return result == -EFAULT ? PF_PLACED_HOLE : result;
}

int pf_uffd_wake(const struct pf_uffd *uffd, void *addr, size_t bytes)
{
    struct uffdio_range range = {.start = (uintptr_t)addr, .len = bytes};
    return ioctl(uffd->fd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}

int pf_uffd_register_writes(const struct pf_uffd *uffd, void *addr, size_t bytes)
{
    struct uffdio_register request = {
        .range = {.start = (uintptr_t)addr, .len = bytes},
        .mode = UFFDIO_REGISTER_MODE_WP,
    };
    if (ioctl(uffd->fd, UFFDIO_REGISTER, &request) < 0)
        return -errno;
    if (request.ioctls & 1ull << _UFFDIO_WRITEPROTECT)
        return 0;
    pf_uffd_unregister(uffd, addr, bytes);
    return -ENOTSUP;
}

int pf_uffd_protect(const struct pf_uffd *uffd, void *addr, size_t bytes, bool on)
{
    struct uffdio_writeprotect request = {
        .range = {.start = (uintptr_t)addr, .len = bytes},
        .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    return ioctl(uffd->fd, UFFDIO_WRITEPROTECT, &request) < 0 ? -errno : 0;
}

bool pf_uffd_changing(const struct pf_uffd *uffd)
{
    /* Before anything else the kernel says EAGAIN while a change is under way; nothing is copied.
     */
    struct uffdio_copy nothing = {.len = 0};
    return ioctl(uffd->fd, UFFDIO_COPY, &nothing) < 0 && errno == EAGAIN;
}

/* Copy one page and zero another of a registered scratch range. */
static int try_placing(const struct pf_uffd *uffd, char *scratch, size_t page, struct pf_why *why)
{
    static const char pattern[4096] = {1};
    size_t done;
    int error = pf_uffd_copy(uffd, scratch, pattern, sizeof pattern, &done);
    if (error || scratch[0] != 1)
        return pf_why(why, -ENOTSUP, "UFFDIO_COPY does not work here (%s)", strerror(-error));
    error = pf_uffd_zero(uffd, scratch + page, page, &done);
    if (error || scratch[page] != 0)
        return pf_why(why, -ENOTSUP, "UFFDIO_ZEROPAGE does not work here (%s)", strerror(-error));
    error = pf_uffd_wake(uffd, scratch, page);
    if (error)
        return pf_why(why, -ENOTSUP, "UFFDIO_WAKE does not work here (%s)", strerror(-error));
    return 0;
}

int pf_uffd_probe(const struct pf_uffd *uffd, struct pf_why *why)
{
    enum { PAGE = 4096, BYTES = 2 * PAGE };
    bool zeropage = false;
    char *scratch = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (scratch == MAP_FAILED)
        return pf_why(why, -errno, "cannot map a scratch range: %s", strerror(errno));
    /* Under mlockall(MCL_FUTURE) it is born locked and populated. */
    munlock(scratch, BYTES);
    madvise(scratch, BYTES, MADV_DONTNEED);
    int error = pf_uffd_register(uffd, scratch, BYTES, false, &zeropage);
    if (error) {
        pf_why(why, error, "the kernel can't register a range with userfaultfd: %s",
               strerror(-error));
    } else {
        error = zeropage ? try_placing(uffd, scratch, PAGE, why)
                         : pf_why(why, -ENOTSUP, "UFFDIO_ZEROPAGE is not offered on 4 KiB pages");
        int undone = pf_uffd_unregister(uffd, scratch, BYTES);
        if (!error && undone)
            error =
                pf_why(why, undone, "UFFDIO_UNREGISTER does not work here: %s", strerror(-undone));
    }
    munmap(scratch, BYTES);
    return error;
}
