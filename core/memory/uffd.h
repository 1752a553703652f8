/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * userfaultfd: opening it, placing pages with it. See userfaultfd(2), ioctl_userfaultfd(2) and the
 * kernel's Documentation/admin-guide/mm/userfaultfd.rst.
 */
#ifndef PF_CORE_MEMORY_UFFD_H
#define PF_CORE_MEMORY_UFFD_H

#include "base/why.h"

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Newer than some distributions' <linux/userfaultfd.h>; the numbers are the kernel's ABI. */
#define PF_UFFD_WP_UNPOPULATED (UINT64_C(1) << 13)
#define PF_UFFD_POISON         (UINT64_C(1) << 14)
#define PF_UFFD_WP_ASYNC       (UINT64_C(1) << 15)
#define PF_UFFD_MOVE           (UINT64_C(1) << 16)

struct pf_uffd {
    int fd;
    uint64_t features; /* UFFD_FEATURE_* that are on */
};

/* How a placement ended. */
enum pf_placed {
    PF_PLACED_ALL,    /* done whole */
    PF_PLACED_EXISTS, /* the page at *done was there already: skip it */
    PF_PLACED_AGAIN,  /* the mapping is changing: a queued event has to be read first */
    /* Nothing is mapped (any more) at *done, or the range is not inside one mapping. */
    PF_PLACED_UNMAPPED,
    PF_PLACED_HOLE, /* CONTINUE: the file has no page at *done */
};

/* Every UFFD_FEATURE_* that the kernel has, asked on a descriptor of its own. As pf_uffd_open(). */
int pf_uffd_offered(uint64_t *offered, struct pf_why *why);

/*
 * Open a userfaultfd through /dev/userfaultfd, else by the system call, non-blocking (poll() on a
 * blocking one reports an error) and never user-mode-only: a system call of the job that touches a
 * missing page must be served too. The kernel is asked with one descriptor what it offers; the
 * working descriptor then gets what of `wanted` is offered. -EPERM with the remedies, -ENOSYS.
 */
int pf_uffd_open(struct pf_uffd *uffd, uint64_t wanted, struct pf_why *why);
void pf_uffd_close(struct pf_uffd *uffd);

/*
 * Make one that came from elsewhere non-blocking. That of a forked child begins as its parent's was
 * made, whatever fcntl() made of that since.
 */
int pf_uffd_unblock(int fd);

/*
 * Prove on a scratch range that MISSING ranges can be registered, unregistered, woken, and filled
 * by COPY and ZEROPAGE: what post-copy is going to rely on. Names the missing thing.
 */
int pf_uffd_probe(const struct pf_uffd *uffd, struct pf_why *why);

/*
 * Register a range for missing faults, and with minor also for those on pages of a file that are
 * there but not mapped (both, since a hole under MINOR alone would read zeros without a fault).
 * *zeropage tells whether ZEROPAGE works there (it doesn't on huge pages). -errno as the kernel
 * gives it; -ENOTSUP if COPY, WAKE or, with minor, CONTINUE isn't offered on the range.
 */
int pf_uffd_register(const struct pf_uffd *uffd, void *addr, size_t bytes, bool minor,
                     bool *zeropage);
/* Plain memory again: whoever waits for a page in the range, even since just now, is woken. */
int pf_uffd_unregister(const struct pf_uffd *uffd, void *addr, size_t bytes);

/*
 * Fill missing pages with a copy of from (or with zeros) and wake who waits for them. *done gets
 * the bytes placed before it ended. A negative errno is a real failure (-ESRCH: the process that
 * owns the memory is gone).
 */
int pf_uffd_copy(const struct pf_uffd *uffd, void *to, const void *from, size_t bytes,
                 size_t *done);
int pf_uffd_zero(const struct pf_uffd *uffd, void *to, size_t bytes, size_t *done);

/* Does a thread wait for an event (a remove, an unmap, a remap, a fork) to be read? */
bool pf_uffd_changing(const struct pf_uffd *uffd);
/* Map pages that are in the file already. PF_PLACED_HOLE: there is none at *done. */
int pf_uffd_continue(const struct pf_uffd *uffd, void *to, size_t bytes, size_t *done);

/* Wake threads that wait for a page in the range, whether or not it is there. */
int pf_uffd_wake(const struct pf_uffd *uffd, void *addr, size_t bytes);

/*
 * Register a range for write-protection; nothing is protected yet. -errno as the kernel gives it;
 * -ENOTSUP if it isn't offered on the range.
 */
int pf_uffd_register_writes(const struct pf_uffd *uffd, void *addr, size_t bytes);

/*
 * Write-protect pages, or lift that and wake who waits for it. Splits transparent huge pages of
 * which the range has a part only. -EAGAIN: the mapping is changing, a queued event has to be read
 * first.
 */
int pf_uffd_protect(const struct pf_uffd *uffd, void *addr, size_t bytes, bool on);

#endif
