/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/clients/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pf_client *pf_client_spare(void)
{
    struct pf_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    pf_list_init(&client->link);
    client->wire = (struct pf_client_link){.socket = -1, .pidfd = -1, .descriptor = -1};
    client->uffd.fd = -1;
    if (pf_target_init(&client->target, &client->uffd, false,
                       PF_CLIENT_MAPPINGS_MAX + PF_CLIENT_VIEWS)) {
        free(client);
        return NULL;
    }
    return client;
}

void pf_client_free(struct pf_client *client)
{
    pf_list_remove(&client->link);
    pf_client_link_close(&client->wire);
    pf_uffd_close(&client->uffd);
    pf_target_free(&client->target);
    free(client);
}

/* ---- while nobody serves it ------------------------------------------------------------------ */

static int take_in_child(const struct pf_client *parent, int fd, struct pf_client **child)
{
    *child = pf_client_spare();
    if (!*child) {
        close(fd);
        return -ENOMEM;
    }
    (*child)->uffd.fd = fd;
    (*child)->target.pid = parent->target.pid;
    (*child)->target.child = true;
    (*child)->target.home = parent->target.home;
    (*child)->target.minor = parent->target.minor;
    (*child)->state = PF_CLIENT_WAITING;
    int error = pf_uffd_unblock(fd);
    return error ? error : pf_target_copy(&(*child)->target, &parent->target);
}

int pf_client_idle_events(struct pf_client *client, struct pf_client **child)
{
    struct uffd_msg message;
    *child = NULL;
    while (!*child && read(client->uffd.fd, &message, sizeof message) == sizeof message) {
        int error = 0;
        if (message.event == UFFD_EVENT_FORK)
            error = take_in_child(client, (int)message.arg.fork.ufd, child);
        else if (message.event == UFFD_EVENT_UNMAP)
            error =
                pf_target_cut(&client->target, message.arg.remove.start, message.arg.remove.end);
        else if (message.event == UFFD_EVENT_REMAP)
            error = pf_target_move(&client->target, message.arg.remap.from, message.arg.remap.to,
                                   message.arg.remap.len);
        if (error)
            return error;
    }
    return 0;
}

void pf_client_wake(const struct pf_client *client)
{
    for (unsigned i = 0; i < client->target.count; i++)
        pf_uffd_wake(&client->uffd, (void *)(uintptr_t)client->target.views[i].addr,
                     (size_t)client->target.views[i].bytes);
}

/* ---- the descriptor -------------------------------------------------------------------------- */

static bool is_userfaultfd(int fd)
{
    char path[64];
    char name[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, name, sizeof name - 1) > 0 &&
           strcmp(name, "anon_inode:[userfaultfd]") == 0;
}

int pf_client_take_uffd(struct pf_client *client, struct pf_why *why)
{
    int fd = client->wire.descriptor;
    if (fd < 0)
        return pf_why(why, -EBADF,
                      "no descriptor came with its message: send the userfaultfd "
                      "beside the first byte (SCM_RIGHTS)");
    if (!is_userfaultfd(fd))
        return pf_why(why, -EINVAL, "the descriptor that it sent is no userfaultfd");
    client->uffd.fd = fd;
    client->wire.descriptor = -1;
    /* poll() on a blocking one reports an error. */
    int error = pf_uffd_unblock(fd);
    if (error)
        return pf_why(why, error, "its userfaultfd can't be made non-blocking: %s",
                      strerror(-error));
    /* Any address that a process may have will do: nobody need wait there. */
    void *somewhere = (void *)((uintptr_t)1 << 32);
    if (pf_uffd_wake(&client->uffd, somewhere, PF_PAGE_SIZE) == -EINVAL)
        return pf_why(why, -EINVAL, "its userfaultfd was never set up (UFFDIO_API)");
    return 0;
}

/* ---- the mappings ---------------------------------------------------------------------------- */

static int not_registered(const struct pf_client_mapping *mapping, unsigned index, int error,
                          struct pf_why *why)
{
    const char *reason = error == -ENOMEM || error == -ESRCH
                             ? "the process behind the userfaultfd has ended, or never had it"
                         : error == -EBUSY  ? "another userfaultfd has them"
                         : error == -EINVAL ? "no memory is mapped there that userfaultfd can serve"
                                            : strerror(-error);
    return pf_why(why, error, "mapping %u: %llu bytes at %#llx can't be registered: %s", index,
                  (unsigned long long)mapping->bytes, (unsigned long long)mapping->addr, reason);
}

static int show(struct pf_client *client, const struct pf_client_mapping *mapping, unsigned index,
                unsigned region, struct pf_why *why)
{
    struct pf_view view = {mapping->addr, mapping->bytes, region, mapping->offset};
    bool zeropage = false;
    int error = pf_target_show(&client->target, &view);
    if (error == -EEXIST)
        return pf_why(why, error, "mapping %u (%llu bytes at %#llx) overlaps another one", index,
                      (unsigned long long)mapping->bytes, (unsigned long long)mapping->addr);
    if (!error) {
        error = pf_uffd_register(&client->uffd, (void *)(uintptr_t)mapping->addr,
                                 (size_t)mapping->bytes, client->target.minor, &zeropage);
        client->zeropage = client->zeropage && zeropage;
    }
    return error ? not_registered(mapping, index, error, why) : 0;
}

/*
 * A page can be in the file before its content is: watchers must not map it by themselves. A
 * kernel that has no minor faults never has such pages.
 */
static bool can_minor(const struct pf_client *client, const struct pf_client_message *message)
{
    const struct pf_client_mapping *first = &message->list[0];
    bool zeropage;
    return pf_uffd_register(&client->uffd, (void *)(uintptr_t)first->addr, (size_t)first->bytes,
                            true, &zeropage) == 0;
}

int pf_client_show(struct pf_client *client, const struct pf_client_message *message,
                   const struct pf_regions *regions, bool home, struct pf_why *why)
{
    client->target.home = home;
    client->target.minor = !home && can_minor(client, message);
    client->target.pid = (int)client->wire.pid;
    client->zeropage = true;
    int error = 0;
    for (unsigned i = 0; !error && i < message->count; i++)
        error = show(client, &message->list[i], i,
                     (unsigned)pf_regions_named(regions, message->list[i].region), why);
    return error;
}

/* ---- watching -------------------------------------------------------------------------------- */

static int check_watched(const struct pf_client_mapping *mapping, unsigned index,
                         const struct pf_regions *regions, struct pf_why *why)
{
    int id = pf_regions_named(regions, mapping->region);
    if (id < 0)
        return pf_why(why, -ENOENT, "mapping %u: the job has no region \"%s\"", index,
                      mapping->region);
    const struct pf_region *region = &regions->list[id];
    if (!pf_region_shared(region) && !region->foreign)
        return pf_why(why, -EINVAL,
                      "mapping %u: region \"%s\" is private memory of the job, and only shared "
                      "regions (FERRY_SHARED, ferry_job_protect_fd) can be watched",
                      index, region->name);
    if (mapping->page_size != pf_region_page_size(region))
        return pf_why(why, -EINVAL, "mapping %u has pages of %llu bytes, region \"%s\" of %zu",
                      index, (unsigned long long)mapping->page_size, region->name,
                      pf_region_page_size(region));
    uint64_t end = mapping->offset + mapping->bytes;
    if (end > region->bytes)
        return pf_why(why, -ERANGE, "mapping %u ends at %llu, region \"%s\" at %zu", index,
                      (unsigned long long)end, region->name, region->bytes);
    return 0;
}

int pf_client_check_watch(const struct pf_client_message *message, const struct pf_regions *regions,
                          struct pf_why *why)
{
    int error = 0;
    for (unsigned i = 0; !error && i < message->count; i++)
        error = check_watched(&message->list[i], i, regions, why);
    return error;
}

/* ---- regions made of a client's memory ------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
    const struct pf_client_mapping *one = a;
    const struct pf_client_mapping *other = b;
    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

/* Sorted by offset, the mappings of one region follow each other without gap or overlap. */
static int check_cover(const struct pf_client_mapping *list, unsigned count, struct pf_why *why)
{
    const struct pf_client_mapping *first = &list[0];
    uint64_t end = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct pf_client_mapping *mapping = &list[i];
        if (mapping->page_size != first->page_size)
            return pf_why(why, -EINVAL,
                          "region \"%s\" has mappings with pages of %llu and %llu "
                          "bytes",
                          first->region, (unsigned long long)first->page_size,
                          (unsigned long long)mapping->page_size);
        if (mapping->offset != end)
            return pf_why(why, -EINVAL,
                          "region \"%s\": its mappings should follow each other, but one %s at "
                          "offset %llu where %llu is due",
                          first->region, mapping->offset < end ? "begins again" : "begins only",
                          (unsigned long long)mapping->offset, (unsigned long long)end);
        end += mapping->bytes;
    }
    return 0;
}

/* Collect the mappings of the region that mapping `first` names; 0 if an earlier one named it. */
static unsigned collect(const struct pf_client_message *message, unsigned first,
                        struct pf_client_mapping *list)
{
    unsigned count = 0;
    for (unsigned i = 0; i < message->count; i++) {
        if (strcmp(message->list[i].region, message->list[first].region) != 0)
            continue;
        if (i < first)
            return 0;
        list[count++] = message->list[i];
    }
    qsort(list, count, sizeof *list, by_offset);
    return count;
}

static int make_region(const struct pf_client_mapping *list, unsigned count,
                       struct pf_regions *regions, struct pf_why *why)
{
    uint64_t end = list[count - 1].offset + list[count - 1].bytes;
    int error = check_cover(list, count, why);
    return error ? error
                 : pf_regions_add_foreign(regions, list[0].region, (size_t)end,
                                          (size_t)list[0].page_size, why);
}

int pf_client_make_regions(const struct pf_client_message *message, struct pf_regions *regions,
                           struct pf_why *why)
{
    struct pf_client_mapping *list = calloc(message->count, sizeof *list);
    if (!list)
        return pf_why(why, -ENOMEM, "no memory for its mappings");
    int error = 0;
    for (unsigned i = 0; !error && i < message->count; i++) {
        unsigned count = collect(message, i, list);
        if (count > 0)
            error = make_region(list, count, regions, why);
    }
    free(list);
    if (error)
        regions->count = 0;
    return error;
}
