/* SPDX-License-Identifier: BSD-2-Clause */
/* libfabric's errors as the contract's: the only place that converts them. */
#include "rdma/ofi/internal.h"

#include <string.h>

struct translation {
    int from, to;
};

/*
 * libfabric's codes below 256 are the errno values of the same name; those above are its own.
 * What is in no line of this table is kept if it is an errno value, else becomes EIO.
 */
static const struct translation codes[] = {
    {FI_ETRUNC, EMSGSIZE},      {FI_ETOOSMALL, EMSGSIZE},
    {FI_ENOKEY, EACCES},        {FI_EPERM, EACCES},
    {FI_EFAULT, EACCES},        {FI_ENORX, ENOBUFS},
    {EPIPE, ECONNRESET},        {FI_ENOTCONN, ECONNRESET},
    {FI_ESHUTDOWN, ECONNRESET}, {FI_ECONNABORTED, ECONNRESET},
    {FI_EREMOTEIO, ECONNRESET}, {FI_EHOSTDOWN, ECONNRESET},
    {FI_EOVERRUN, ENOBUFS},     {FI_ENODATA, ENODEV},
    {FI_ENOSYS, EOPNOTSUPP},
};

/*
 * The verbs provider reports EIO with the work completion's status (enum ibv_wc_status, whose
 * numbers are the kernel's ABI) as the provider's own code.
 */
static const struct translation work_completions[] = {
    {1, EMSGSIZE},   /* local length: longer than the receive */
    {4, EACCES},     /* local protection */
    {5, ECANCELED},  /* flushed */
    {9, EMSGSIZE},   /* remote invalid request: longer than the peer's receive */
    {10, EACCES},    /* remote access */
    {12, ETIMEDOUT}, /* transport retries exceeded */
    {13, ENOBUFS},   /* receiver not ready retries exceeded */
};

static int look_up(const struct translation *table, size_t count, int from, int otherwise)
{
    for (size_t i = 0; i < count; i++)
        if (table[i].from == from)
            return table[i].to;
    return otherwise;
}

int pf_ofi_error(ssize_t code)
{
    int positive = (int)(code < 0 ? -code : code);
    if (positive == 0)
        return 0;
    return -look_up(codes, sizeof codes / sizeof *codes, positive,
                    positive < FI_ERRNO_OFFSET ? positive : EIO);
}

int pf_ofi_completion_error(const struct fi_info *info, const struct fi_cq_err_entry *entry)
{
    const char *provider = info->fabric_attr->prov_name;
    if (provider && strncmp(provider, "verbs", 5) == 0 && entry->err != FI_ECANCELED) {
        int code = look_up(work_completions, sizeof work_completions / sizeof *work_completions,
                           entry->prov_errno, 0);
        if (code)
            return -code;
    }
    return entry->err ? pf_ofi_error(entry->err) : -EIO;
}
