/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why something failed, in words for a person.
 *
 * The function that first sees an error writes the sentence; callers pass the code on.
 * A sentence says what was being done, to what, and what to do about it.
 */
#ifndef PF_BASE_WHY_H
#define PF_BASE_WHY_H

struct pf_why {
    char text[320];
};

/*
 * Write the sentence and return code, so that a caller can say
 *     return pf_why(why, -EINVAL, "region \"%s\": ...", name);
 * why may be NULL: then only the code is returned. A second call overwrites the first.
 */
int pf_why(struct pf_why *why, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
