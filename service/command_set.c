/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/knobs.h"
#include "service/ask_command.h"
#include "service/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { DOC_MAX = 4096 };

/* What is to change: {"bandwidth": "100M", ...}. */
static struct json_object *changes_of(struct json_object *request)
{
    struct json_object *options = NULL;
    if (!json_object_object_get_ex(request, "options", &options)) {
        options = json_object_new_object();
        json_object_object_add(request, "options", options);
    }
    return options;
}

/* KEY=VALUE. The job knows which keys and values it takes. */
static int take(struct json_object *request, const char *text, struct pf_why *why)
{
    char key[PF_OPTION_TEXT_MAX];
    size_t length = strcspn(text, "=");
    if (text[length] != '=' || length == 0 || length >= sizeof key)
        return pf_why(why, -EINVAL, "\"%.60s\" is no change: write KEY=VALUE, as in bandwidth=100M",
                      text);
    snprintf(key, sizeof key, "%.*s", (int)length, text);
    json_object_object_add(changes_of(request), key, json_object_new_string(text + length + 1));
    return 0;
}

/* What argp prints before the options and, behind a \v, after them. */
static void write_doc(char doc[DOC_MAX])
{
    size_t used = (size_t)snprintf(
        doc, DOC_MAX,
        "Change options of the job NAME: all that are given or, if one is refused, none. They "
        "stay set for its later migrations.\v"
        "While a migration runs bandwidth can be changed, and as long as there are rounds of "
        "pre-copy these can, which take effect at once or with the next round:\n\n");
    for (unsigned i = 0; i < PF_OPTION_COUNT && used < DOC_MAX; i++)
        if (pf_knob_is(i))
            used += (size_t)snprintf(doc + used, DOC_MAX - used, "  %s=%s\n",
                                     pf_option_table[i].name, pf_option_table[i].metavar);
    if (used < DOC_MAX)
        snprintf(doc + used, DOC_MAX - used,
                 "\nOtherwise every engine option can; pageferry migrate --help explains them.");
}

static void print(const struct pf_record *record, struct json_object *request)
{
    const char *comma = " ";
    printf("%s:", record->name);
    json_object_object_foreach(changes_of(request), key, value)
    {
        printf("%s%s is %s", comma, key, json_object_get_string(value));
        comma = ", ";
    }
    puts(strcmp(record->state, "running") == 0 ? " for the next migration" : " from now on");
}

int pf_command_set(int argc, char **argv)
{
    char doc[DOC_MAX];
    const struct pf_ask_command set = {
        .request = "set",
        .doc = doc,
        .print = print,
        .arguments = "KEY=VALUE...",
        .missing = "give the job's name and what is to change: pageferry set NAME bandwidth=100M",
        .take = take,
    };
    write_doc(doc);
    return pf_ask_command(&set, argc, argv);
}
