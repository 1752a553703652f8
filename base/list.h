/* SPDX-License-Identifier: BSD-2-Clause */
/* A circular doubly linked list whose links live in the caller's structs. Not thread-safe. */
#ifndef PF_BASE_LIST_H
#define PF_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct pf_list {
    struct pf_list *next, *prev;
};

#define pf_container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline void pf_list_init(struct pf_list *list)
{
    list->next = list->prev = list;
}

static inline bool pf_list_empty(const struct pf_list *list)
{
    return list->next == list;
}

static inline void pf_list_append(struct pf_list *list, struct pf_list *item)
{
    item->prev = list->prev;
    item->next = list;
    list->prev->next = item;
    list->prev = item;
}

/* The item points to itself afterwards, so that removing it twice is harmless. */
static inline void pf_list_remove(struct pf_list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    pf_list_init(item);
}

/* Take the first item off the list; NULL when it is empty. */
static inline struct pf_list *pf_list_pop(struct pf_list *list)
{
    if (pf_list_empty(list))
        return NULL;
    /* Not by pf_list_remove(): so static analysis sees that the list's first item is another. */
    struct pf_list *item = list->next;
    list->next = item->next;
    item->next->prev = list;
    pf_list_init(item);
    return item;
}

/* NOLINTBEGIN(bugprone-macro-parentheses): item is a name that is being declared */
/* The current item may not be removed inside; use pf_list_pop to drain. */
#define pf_list_for_each(item, list)                                                               \
    for (struct pf_list *item = (list)->next; item != (list); item = item->next)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
