/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/stripes.h"

#include <errno.h>
#include <stdlib.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t stripe_pages(size_t pages, unsigned page_shift, unsigned rails)
{
    size_t usual = PF_STRIPE_BYTES >> page_shift;
    size_t unit = least(usual, (pages + rails - 1) / rails);
    return unit ? unit : 1;
}

int pf_stripes_init(struct pf_stripes *stripes, size_t pages, unsigned page_shift, unsigned rails)
{
    *stripes = (struct pf_stripes){
        .pages = pages,
        .unit = stripe_pages(pages, page_shift, rails),
    };
    stripes->count = (pages + stripes->unit - 1) / stripes->unit;
    stripes->rails = malloc(stripes->count ? stripes->count : 1);
    if (!stripes->rails)
        return -ENOMEM;
    for (size_t i = 0; i < stripes->count; i++)
        stripes->rails[i] = (uint8_t)(i * rails / stripes->count);
    return 0;
}

void pf_stripes_free(struct pf_stripes *stripes)
{
    free(stripes->rails);
    *stripes = (struct pf_stripes){.rails = NULL};
}

/* ---- dealing them out by node ---------------------------------------------------------------- */

/* What is shared out together: the stripes of one node that has rails, or of all nodes without. */
struct share {
    int node; /* -1: those without a rail */
    uint8_t rails[UINT8_MAX];
    unsigned rail_count;
};

static bool has_rail(const int *rail_nodes, unsigned rails, int node)
{
    for (unsigned i = 0; i < rails; i++)
        if (node >= 0 && rail_nodes[i] == node)
            return true;
    return false;
}

static bool is_of(const struct share *share, int node, const int *rail_nodes, unsigned rails)
{
    return share->node == (has_rail(rail_nodes, rails, node) ? node : -1);
}

static void deal_share(struct pf_stripes *stripes, const struct share *share, const int *nodes,
                       const int *rail_nodes, unsigned rails)
{
    size_t total = 0;
    for (size_t i = 0; i < stripes->count; i++)
        total += is_of(share, nodes[i], rail_nodes, rails);
    size_t at = 0;
    for (size_t i = 0; i < stripes->count; i++)
        if (is_of(share, nodes[i], rail_nodes, rails))
            stripes->rails[i] = share->rails[at++ * share->rail_count / total];
}

void pf_stripes_deal(struct pf_stripes *stripes, const int *nodes, const int *rail_nodes,
                     unsigned rails)
{
    struct share all = {.node = -1, .rail_count = rails};
    for (unsigned i = 0; i < rails; i++)
        all.rails[i] = (uint8_t)i;
    deal_share(stripes, &all, nodes, rail_nodes, rails);
    for (unsigned first = 0; first < rails; first++) {
        struct share share = {.node = rail_nodes[first]};
        if (share.node < 0 || has_rail(rail_nodes, first, share.node))
            continue; /* unknown, or dealt out with an earlier rail of that node */
        for (unsigned i = first; i < rails; i++)
            if (rail_nodes[i] == share.node)
                share.rails[share.rail_count++] = (uint8_t)i;
        deal_share(stripes, &share, nodes, rail_nodes, rails);
    }
}

/* ---- finding one's own ----------------------------------------------------------------------- */

struct pf_run pf_stripes_at(const struct pf_stripes *stripes, size_t stripe)
{
    size_t first = stripe * stripes->unit;
    return (struct pf_run){first, least(stripes->unit, stripes->pages - first)};
}

struct pf_run pf_stripes_own(const struct pf_stripes *stripes, unsigned rail, size_t page)
{
    size_t at = page / stripes->unit;
    while (at < stripes->count && stripes->rails[at] != rail)
        at++;
    size_t end = at;
    while (end < stripes->count && stripes->rails[end] == rail)
        end++;
    size_t first = at * stripes->unit > page ? at * stripes->unit : page;
    size_t behind = least(end * stripes->unit, stripes->pages);
    return (struct pf_run){first, behind > first ? behind - first : 0};
}
