/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One page as its difference from what it held before: pairs of lengths, of bytes that are as they
 * were and of bytes that are not, the latter followed by the new bytes themselves. Lengths are
 * LEB128: seven bits a byte, the low ones first, the top bit says that more follow. What is behind
 * the last pair is as it was.
 */
#ifndef PF_CORE_ENCODE_XBZRLE_H
#define PF_CORE_ENCODE_XBZRLE_H

#include <stddef.h>
#include <stdint.h>

enum {
    PF_XBZRLE_PAGE = 4096,
    PF_XBZRLE_MAX = PF_XBZRLE_PAGE - 1, /* a difference that is no shorter than a page is none */
};

/*
 * The length of what was put in out; 0: nothing has changed; -E2BIG: it would be no shorter than
 * the page. Both pages are aligned to 8 and nobody writes to them meanwhile.
 */
int pf_xbzrle_encode(const void *before, const void *after, uint8_t out[PF_XBZRLE_MAX]);

/*
 * Change a page by what pf_xbzrle_encode() made. -EPROTO: no encoder of ours makes such a thing
 * (cut off, beyond the page's end, a length of nothing or longer than it need be); part of the page
 * may have changed then. Nobody writes to the input meanwhile.
 */
int pf_xbzrle_decode(const uint8_t *in, size_t length, void *page);

#endif
