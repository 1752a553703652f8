/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading an endpoint's completion queue. */
#include "rdma/ofi/internal.h"

enum { BATCH = PF_OFI_SPARE }; /* entries read at once: there is room for as many immediates */

/*
 * A write with immediate data has arrived. Its context is ours only where it used up a receive;
 * the shm provider hands us a number of the peer's there.
 */
static unsigned imm_arrived(struct pf_ofi_endpoint *endpoint, const struct fi_cq_data_entry *entry)
{
    struct pf_ofi_arrival *arrival = entry->op_context;
    if (!endpoint->device->imm_takes_rx) {
        struct pf_list *spare = pf_list_pop(&endpoint->spare);
        if (!spare) {
            pf_ofi_endpoint_fail(endpoint, -ENOBUFS);
            return 0;
        }
        arrival = pf_container_of(spare, struct pf_ofi_arrival, link);
        endpoint->spare_count--;
    }
    arrival->has_imm = true;
    arrival->flush_ask = false;
    arrival->imm = (uint32_t)entry->data;
    arrival->bytes = 0;
    return pf_ofi_receive_arrived(endpoint, arrival);
}

static unsigned message_arrived(struct pf_ofi_endpoint *endpoint,
                                const struct fi_cq_data_entry *entry)
{
    struct pf_ofi_arrival *arrival = entry->op_context;
    arrival->has_imm = false;
    arrival->flush_ask = false;
    arrival->imm = (uint32_t)entry->data;
    arrival->bytes = entry->len;
    if (!pf_ofi_control_is(entry))
        return pf_ofi_receive_arrived(endpoint, arrival);
    return pf_ofi_control_arrived(endpoint, arrival);
}

static unsigned complete(struct pf_ofi_endpoint *endpoint, const struct fi_cq_data_entry *entry)
{
    if (entry->flags & (FI_REMOTE_WRITE | FI_RECV)) {
        endpoint->heard++;
        return entry->flags & FI_REMOTE_WRITE ? imm_arrived(endpoint, entry)
                                              : message_arrived(endpoint, entry);
    }
    struct pf_ofi_record *record = entry->op_context;
    return pf_ofi_record_done(endpoint, record, 0) + pf_ofi_record_flushed(endpoint);
}

static bool is_record(const struct pf_ofi_endpoint *endpoint, const void *context)
{
    const struct pf_ofi_record *record = context;
    return record >= endpoint->records && record < endpoint->records + endpoint->send_depth;
}

/*
 * A cancelled entry means that the provider has taken the connection down; what came before it is
 * in the queue in front of it, a good-bye too. Its operation ends with the endpoint.
 */
static unsigned failed(struct pf_ofi_endpoint *endpoint)
{
    struct fi_cq_err_entry entry = {0};
    if (fi_cq_readerr(endpoint->cq, &entry, 0) < 0)
        return 0;
    int status = pf_ofi_completion_error(endpoint->device->info, &entry);
    if (status == -ECANCELED) {
        endpoint->hung_up = true;
        return 0;
    }
    pf_ofi_endpoint_fail(endpoint, status);
    if (is_record(endpoint, entry.op_context))
        return pf_ofi_record_done(endpoint, entry.op_context, status);
    return 0;
}

/* Full of early arrivals: nothing more is read, so that the provider holds the peer back. */
static bool blocked(const struct pf_ofi_endpoint *endpoint)
{
    return !endpoint->device->imm_takes_rx && endpoint->spare_count < BATCH &&
           endpoint->state < PF_OFI_CLOSING;
}

/*
 * Returns the callbacks made. Each may close the endpoint: then its queue is gone. A look at an
 * empty queue makes the provider look at its sockets, so a queue that gave less than it was asked
 * for is not asked again: the caller has something to answer.
 */
unsigned pf_ofi_completions(struct pf_ofi_endpoint *endpoint, unsigned budget)
{
    unsigned made = 0;
    while (endpoint->cq && made < budget && !blocked(endpoint)) {
        struct fi_cq_data_entry entries[BATCH];
        size_t room = BATCH;
        if (room > budget - made)
            room = budget - made;
        ssize_t count = fi_cq_read(endpoint->cq, entries, room);
        if (count == -FI_EAVAIL) {
            made += failed(endpoint);
            continue;
        }
        if (count == -FI_EAGAIN && endpoint->hung_up)
            pf_ofi_endpoint_end(endpoint, -ECONNRESET);
        else if (count < 0 && count != -FI_EAGAIN)
            pf_ofi_endpoint_end(endpoint, pf_ofi_error(count));
        if (count <= 0)
            break;
        for (ssize_t i = 0; i < count && endpoint->cq; i++)
            made += complete(endpoint, &entries[i]);
        if ((size_t)count < room)
            break;
    }
    return made;
}
