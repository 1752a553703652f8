/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backends.h"
#include "service/command.h"
#include "service/launch.h"
#include "transport/uri_list.h"

#include <errno.h>
#include <stdio.h>

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct pf_launch *launch = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &launch->engine;
        return 0;
    case 'n':
        launch->name = text;
        return 0;
    case 'o':
        launch->once = true;
        return 0;
    case ARGP_KEY_ARG:
        if (!launch->uri) {
            launch->uri = text;
            return 0;
        }
        launch->program = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        if (!launch->uri)
            argp_error(state, "the address is missing: where to listen, as in tcp://0.0.0.0:7471");
        if (!launch->name)
            argp_error(state, "--name is missing: the job needs a name to be found by");
        if (!launch->program)
            argp_error(state,
                       "the program is missing: pageferry receive URI --name NAME -- PROGRAM");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"name", 'n', "NAME", 0, "The job's name on this host (PAGEFERRY_NAME)", 0},
    {"once", 'o', NULL, 0, "Take one connection; if it fails, end (PAGEFERRY_ONCE)", 0},
    {0},
};

static int no_transport(const char *uri, struct pf_why *why)
{
    char built[160] = "";
    size_t used = 0;
    for (unsigned i = 0; pf_backends[i] && used < sizeof built; i++)
        used += (size_t)snprintf(built + used, sizeof built - used, "%s%s", i > 0 ? ", " : "",
                                 pf_backends[i]->scheme);
    return pf_why(why, -EPROTONOSUPPORT, "no transport answers \"%.80s\": this build has %s", uri,
                  built[0] ? built : "none");
}

static int check_uri(const char *text, struct pf_why *why)
{
    struct pf_uri_list list;
    int error = pf_uri_list_parse(text, &list, why);
    for (unsigned i = 0; i < list.count && !error; i++)
        if (!pf_transport_find(pf_backends, list.uris[i]))
            error = no_transport(list.uris[i], why);
    return error;
}

int pf_command_receive(int argc, char **argv)
{
    struct pf_launch launch = {.name = NULL};
    struct pf_why why;
    if (pf_engine_args_init(&launch.engine, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc = "URI[,URI...] -- PROGRAM [ARGUMENT...]",
        .doc = "Start PROGRAM, the same that is to be moved here, as the destination: it listens "
               "on URI (SCHEME://ADDRESS:PORT) and goes on where the source was paused. Several "
               "addresses, separated by commas, are as many rails: each NIC carries a part.",
        .children = launch.engine.child,
    };
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &launch);
    if (check_uri(launch.uri, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    return pf_launch(&launch);
}
