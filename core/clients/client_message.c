/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/clients/client_message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* User addresses end below this on every machine with 64 bits; so no sum of two numbers overflows.
 */
static const uint64_t number_limit = UINT64_C(1) << 62;

static int take_number(struct json_object *item, unsigned index, const char *key, uint64_t *number,
                       struct pf_why *why)
{
    struct json_object *value;
    if (!json_object_object_get_ex(item, key, &value))
        return pf_why(why, -EINVAL, "mapping %u has no \"%s\"", index, key);
    if (!json_object_is_type(value, json_type_int))
        return pf_why(why, -EINVAL, "mapping %u: \"%s\" is no whole number", index, key);
    int64_t taken = json_object_get_int64(value);
    if (taken < 0 || (uint64_t)taken >= number_limit)
        return pf_why(why, -EINVAL, "mapping %u: \"%s\" can't be %s", index, key,
                      json_object_get_string(value));
    *number = (uint64_t)taken;
    return 0;
}

static int take_page_size(struct json_object *item, unsigned index,
                          const struct pf_client_words *words, uint64_t *page_size,
                          struct pf_why *why)
{
    const char *key = words->page_size;
    if (words->page_size_before && !json_object_object_get_ex(item, key, NULL))
        key = words->page_size_before;
    int error = take_number(item, index, key, page_size, why);
    if (!error && (*page_size < PF_PAGE_SIZE || *page_size & (*page_size - 1)))
        error = pf_why(why, -EINVAL, "mapping %u: no pages have %llu bytes", index,
                       (unsigned long long)*page_size);
    return error;
}

/* It gets into sentences and log lines. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

static int take_region(struct json_object *item, unsigned index,
                       const struct pf_client_words *words, char name[PF_REGION_NAME],
                       struct pf_why *why)
{
    struct json_object *value = NULL;
    const char *text = words->only_region;
    if (!text && json_object_object_get_ex(item, words->region, &value) &&
        json_object_is_type(value, json_type_string))
        text = json_object_get_string(value);
    if (!text || text[0] == '\0' || strlen(text) >= PF_REGION_NAME || !is_plain(text))
        return pf_why(why, -EINVAL, "mapping %u: \"%s\" should name a region", index,
                      words->region);
    strcpy(name, text);
    return 0;
}

static int check_whole_pages(const struct pf_client_mapping *mapping, unsigned index,
                             struct pf_why *why)
{
    uint64_t mask = mapping->page_size - 1;
    if (mapping->bytes == 0)
        return pf_why(why, -EINVAL, "mapping %u is empty", index);
    if ((mapping->addr | mapping->bytes | mapping->offset) & mask)
        return pf_why(why, -EINVAL,
                      "mapping %u (address %#llx, size %llu, offset %llu) is not made of whole "
                      "pages of %llu bytes",
                      index, (unsigned long long)mapping->addr, (unsigned long long)mapping->bytes,
                      (unsigned long long)mapping->offset, (unsigned long long)mapping->page_size);
    return 0;
}

static int take_mapping(struct pf_client_mapping *mapping, struct json_object *item, unsigned index,
                        const struct pf_client_words *words, struct pf_why *why)
{
    if (!json_object_is_type(item, json_type_object))
        return pf_why(why, -EINVAL, "mapping %u is no object", index);
    int error = take_number(item, index, words->addr, &mapping->addr, why);
    if (!error)
        error = take_number(item, index, words->bytes, &mapping->bytes, why);
    if (!error)
        error = take_number(item, index, words->offset, &mapping->offset, why);
    if (!error)
        error = take_page_size(item, index, words, &mapping->page_size, why);
    if (!error)
        error = take_region(item, index, words, mapping->region, why);
    return error ? error : check_whole_pages(mapping, index, why);
}

int pf_client_mappings_take(struct pf_client_message *message, struct json_object *array,
                            const struct pf_client_words *words, struct pf_why *why)
{
    if (!json_object_is_type(array, json_type_array))
        return pf_why(why, -EINVAL, "the mappings are no array");
    size_t count = json_object_array_length(array);
    if (count == 0)
        return pf_why(why, -EINVAL, "there are no mappings");
    if (count > PF_CLIENT_MAPPINGS_MAX)
        return pf_why(why, -E2BIG, "%zu mappings: at most %d are taken", count,
                      PF_CLIENT_MAPPINGS_MAX);
    message->list = calloc(count, sizeof *message->list);
    if (!message->list)
        return pf_why(why, -ENOMEM, "no memory for %zu mappings", count);
    message->count = (unsigned)count;
    int error = 0;
    for (unsigned i = 0; !error && i < message->count; i++)
        error = take_mapping(&message->list[i], json_object_array_get_idx(array, i), i, words, why);
    if (error)
        pf_client_message_free(message);
    return error;
}

int pf_client_message_take(struct pf_client_message *message, struct json_object *json,
                           struct pf_why *why)
{
    static const struct pf_client_words words = {
        .addr = "address",
        .bytes = "size",
        .offset = "offset",
        .page_size = "page_size",
        .region = "region",
    };
    struct json_object *mappings;
    *message = (struct pf_client_message){.count = 0};
    if (!json_object_is_type(json, json_type_object) ||
        !json_object_object_get_ex(json, "mappings", &mappings))
        return pf_why(why, -EINVAL, "the message is no object with \"mappings\"");
    return pf_client_mappings_take(message, mappings, &words, why);
}

void pf_client_message_free(struct pf_client_message *message)
{
    free(message->list);
    *message = (struct pf_client_message){.count = 0};
}
